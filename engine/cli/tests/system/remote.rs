//! An engine and its workers and clients over TLS: who is let in, and what those are told who are not.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use rcgen::{CertificateParams, Issuer, KeyPair, date_time_ymd};

use crate::harness::worker::Worker;
use crate::harness::{Engine, Fleet, Ran, muster, until};

/// Makes certificates as a user would.
fn certs(engine: &Engine, dir: &str, name: &str) -> PathBuf {
    let dir = engine.directory.path().join(dir);
    let words = ["admin", "certs", "--name", name, "--dir"];
    let made = muster().args(words).arg(&dir).output().expect("it runs");
    Ran::from(made).ok();
    dir
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// An engine over TLS without a worker, its URL by the name localhost, and the folder with its certificates.
fn engine(more: &[&str]) -> (Engine, String, PathBuf) {
    let mut engine = Engine::prepare(&["--no-worker"]);
    let dir = certs(&engine, "certs", "localhost");
    let client_ca = dir.join("ca.pem");
    let more = more.iter().map(|word| word.replace("CA", text(&client_ca)));
    engine = engine.and(&["--tls-cert", text(&dir.join("engine.pem"))]);
    engine = engine.and(&["--tls-key", text(&dir.join("engine.key"))]);
    for word in more {
        engine = engine.and(&[&word]);
    }
    engine.start_again();
    let url = format!("https://localhost:{}", port(&engine));
    (engine, url, dir)
}

fn port(engine: &Engine) -> &str {
    engine.url.rsplit_once(':').expect("a port").1
}

/// A client over TLS.
fn client(engine: &Engine, url: &str, ca: &Path, more: &[&str]) -> Ran {
    let mut command = engine.command(&["admin", "status", "--json", "--ca", text(ca)]);
    let ran: Output = command
        .args(more)
        .env("MUSTER_ENGINE", url)
        .env("MUSTER_CLIENT_TOKEN_FILE", engine.data().join("client.token"))
        .output()
        .expect("the client runs");
    ran.into()
}

/// What a worker says that gives up.
fn refused_worker(url: &str, ca: &Path, more: &[&str]) -> String {
    let mut child = muster()
        .args(["worker", "--engine", url, "--ca", text(ca)])
        .args(more)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the worker starts");
    until("the worker gives up", || {
        child.try_wait().expect("it is ours").is_some()
    });
    Ran::from(child.wait_with_output().expect("it ended"))
        .exits(8)
        .stderr()
}

fn token(engine: &Engine, of: &str) -> String {
    text(&engine.data().join(format!("{of}.token"))).to_owned()
}

#[test]
fn a_worker_and_a_client_come_over_tls_with_their_tokens() {
    let fleet = Fleet::start(121, 3, &[]);
    let (engine, url, dir) = engine(&[]);
    let ca = dir.join("ca.pem");
    // In the clear for who is on this machine, on the same port.
    engine.import(&fleet, 3, "\n");
    let _worker = Worker::start_at(&engine, &url, "far", &["--ca", text(&ca)]);
    let ran = engine
        .run(&["run", "--all", "--json", "--", "/system/identity/print"])
        .ok();
    assert_eq!(ran.json().len(), 3);
    let status = client(&engine, &url, &ca, &[]).ok().json().remove(0);
    assert_eq!(status["workers"][0]["name"], "far", "{status}");

    let without = client(
        &engine,
        &url,
        &ca,
        &["--client-token-file", &token(&engine, "worker")],
    );
    let said = without.exits(8).stderr();
    assert!(
        said.contains("BAD_CLIENT_TOKEN") && said.contains("client.token"),
        "{said}"
    );
    let said = refused_worker(&url, &ca, &["--token-file", &token(&engine, "client")]);
    assert!(said.contains("the worker token is missing or wrong"), "{said}");
}

#[test]
fn a_certificate_that_is_not_the_engines_is_told_from_one_that_is() {
    let (engine, url, dir) = engine(&[]);
    let other = certs(&engine, "other", "localhost").join("ca.pem");
    let ca = dir.join("ca.pem");
    let token = token(&engine, "worker");
    let worker = |url: &str, ca: &Path| refused_worker(url, ca, &["--token-file", &token]);
    let by_address = url.replace("localhost", "127.0.0.1");
    for said in [
        worker(&url, &other),
        client(&engine, &url, &other, &[]).exits(8).stderr(),
    ] {
        assert!(said.contains("is not signed by the CA in"), "{said}");
    }
    for said in [
        worker(&by_address, &ca),
        client(&engine, &by_address, &ca, &[]).exits(8).stderr(),
    ] {
        assert!(
            said.contains("is for another name") && said.contains("--name 127.0.0.1"),
            "{said}"
        );
    }
    // Who speaks TLS to an engine without it hears what is wrong.
    let plain = Engine::start(&["--no-worker"]);
    let url = format!("https://127.0.0.1:{}", port(&plain));
    let said = client(&plain, &url, &ca, &[]).exits(8).stderr();
    assert!(said.contains("does not speak TLS"), "{said}");
}

#[test]
fn an_expired_certificate_of_the_engine_is_told() {
    let mut engine = Engine::prepare(&["--no-worker"]);
    let dir = certs(&engine, "certs", "localhost");
    let ca = dir.join("ca.pem");
    // As `muster admin certs` made it, but long ago.
    let key = KeyPair::from_pem(&std::fs::read_to_string(dir.join("ca.key")).expect("made")).expect("a key");
    let mut named = CertificateParams::default();
    named
        .distinguished_name
        .push(rcgen::DnType::CommonName, "muster CA");
    let issuer = Issuer::from_params(&named, &key);
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    let own = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&own, &issuer).expect("signed");
    let (pem, private) = (dir.join("old.pem"), dir.join("old.key"));
    std::fs::write(&pem, certificate.pem()).expect("written");
    std::fs::write(&private, own.serialize_pem()).expect("written");
    engine = engine.and(&["--tls-cert", text(&pem), "--tls-key", text(&private)]);
    engine.start_again();
    let url = format!("https://localhost:{}", port(&engine));
    let said = refused_worker(&url, &ca, &["--token-file", &token(&engine, "worker")]);
    assert!(
        said.contains("not valid now") && said.contains("expired"),
        "{said}"
    );
    let said = client(&engine, &url, &ca, &[]).exits(8).stderr();
    assert!(said.contains("not valid now"), "{said}");
}

/// A certificate that was renewed is presented without a restart, and one that is of no use is not.
#[test]
fn a_certificate_is_renewed_while_the_engine_runs() {
    let (engine, url, dir) = engine(&[]);
    let ca = dir.join("ca.pem");
    client(&engine, &url, &ca, &[]).ok();
    let other = certs(&engine, "renewed", "localhost");
    let other_ca = other.join("ca.pem");
    client(&engine, &url, &other_ca, &[]).exits(8);
    // Half of it, as while it is copied.
    std::fs::copy(other.join("engine.pem"), dir.join("engine.pem")).expect("copied");
    until("the engine has seen half of it", || {
        client(&engine, &url, &ca, &[]).ok();
        engine.log.text().contains("the one from before goes on")
    });
    std::fs::copy(other.join("engine.key"), dir.join("engine.key")).expect("copied");
    until("the new one is presented", || {
        client(&engine, &url, &other_ca, &[]).code() == 0
    });
    client(&engine, &url, &ca, &[]).exits(8);
}

#[test]
fn an_engine_may_want_certificates_as_well() {
    let (engine, url, dir) = engine(&["--tls-client-ca", "CA"]);
    let ca = dir.join("ca.pem");
    let of = |who: &str| {
        let file = |kind: &str| text(&dir.join(format!("{who}.{kind}"))).to_owned();
        (file("pem"), file("key"))
    };
    let worker_token = token(&engine, "worker");
    let said = refused_worker(&url, &ca, &["--token-file", &worker_token]);
    assert!(said.contains("wants a certificate of us"), "{said}");
    let said = client(&engine, &url, &ca, &[]).exits(8).stderr();
    assert!(said.contains("wants a certificate of us"), "{said}");
    let other = certs(&engine, "other", "localhost");
    let (pem, key) = (other.join("client.pem"), other.join("client.key"));
    let more = ["--cert", text(&pem), "--key", text(&key)];
    let said = client(&engine, &url, &ca, &more).exits(8).stderr();
    assert!(said.contains("did not sign it"), "{said}");

    let (pem, key) = of("worker");
    let _worker = Worker::start_at(
        &engine,
        &url,
        "far",
        &["--ca", text(&ca), "--cert", &pem, "--key", &key],
    );
    let (pem, key) = of("client");
    until("the worker is there", || {
        let ran = client(&engine, &url, &ca, &["--cert", &pem, "--key", &key]).ok();
        ran.json()[0]["workers"][0]["name"] == "far"
    });
}

#[test]
fn certificates_are_never_overwritten_and_can_be_made_anew() {
    let engine = Engine::prepare(&[]);
    let dir = certs(&engine, "certs", "engine.example.net");
    let again = || {
        let words = ["admin", "certs", "--name", "10.0.0.1", "--dir", text(&dir)];
        Ran::from(muster().args(words).output().expect("it runs"))
    };
    let said = again().exits(6).stderr();
    assert!(said.contains("engine.pem") && !said.contains("ca.pem,"), "{said}");
    for file in ["engine", "worker", "client"] {
        for kind in ["pem", "key"] {
            std::fs::remove_file(dir.join(format!("{file}.{kind}"))).expect("there");
        }
    }
    let ca = std::fs::read(dir.join("ca.pem")).expect("there");
    again().ok();
    assert_eq!(std::fs::read(dir.join("ca.pem")).expect("there"), ca);
    // A CA that this command has not made is of no use with another's key.
    let other = certs(&engine, "other", "x");
    for file in [
        "engine.pem",
        "engine.key",
        "worker.pem",
        "worker.key",
        "client.pem",
        "client.key",
    ] {
        std::fs::remove_file(other.join(file)).expect("there");
    }
    std::fs::copy(dir.join("ca.key"), other.join("ca.key")).expect("copied");
    let words = ["admin", "certs", "--name", "x", "--dir", text(&other)];
    let said = Ran::from(muster().args(words).output().expect("it runs"))
        .exits(1)
        .stderr();
    assert!(said.contains("is not its key"), "{said}");
    assert!(!other.join("engine.pem").exists());
    for bad in ["https://x", "a b", ""] {
        let words = ["admin", "certs", "--name", bad, "--dir", text(&dir)];
        let said = Ran::from(muster().args(words).output().expect("it runs"))
            .exits(1)
            .stderr();
        assert!(said.contains("neither a host name nor an IP address"), "{said}");
    }
}

#[test]
fn files_for_tls_that_do_not_do_are_told_at_the_start() {
    let mut engine = Engine::prepare(&["--no-worker"]);
    let dir = certs(&engine, "certs", "localhost");
    engine = engine.and(&["--tls-cert", text(&dir.join("engine.pem"))]);
    let said = engine.try_start().expect_err("half of it").join("\n");
    assert!(said.contains("both --tls-cert and --tls-key"), "{said}");
    engine = engine.and(&["--tls-key", text(&dir.join("worker.key"))]);
    let said = engine.try_start().expect_err("another key").join("\n");
    assert!(said.contains("do not go together"), "{said}");
}
