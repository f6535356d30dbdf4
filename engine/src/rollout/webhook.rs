//! Asking a server at a gate (E3): a POST over HTTP/1.1, in the clear or over TLS.

use std::sync::Arc;
use std::time::Duration;

use muster_engine_core::rollout::advance::GateVerdict;
use muster_model::policy::web_address;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Of an answer, more is not read.
const ANSWER_BYTES: u64 = 64 << 10;
/// Of a reason, more is not kept.
const REASON: usize = 500;

/// Asks; whatever is no clear answer is inconclusive. `roots` are certificates that the server's chain may end in, PEM; those
/// that the system trusts without.
pub(crate) async fn ask(
    url: &str,
    roots: Option<&str>,
    timeout: Duration,
    question: &Value,
) -> (GateVerdict, String) {
    match tokio::time::timeout(timeout, post(url, roots, question)).await {
        Ok(Ok(answer)) => understand(&answer),
        Ok(Err(error)) => (GateVerdict::Inconclusive, error),
        Err(_) => (GateVerdict::Inconclusive, format!("no answer within {timeout:?}")),
    }
}

async fn post(url: &str, roots: Option<&str>, question: &Value) -> Result<String, String> {
    let (tls, host, port, path) = web_address(url).ok_or("its address cannot be asked")?;
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(|error| told(&error))?;
    if !tls {
        return exchange(stream, host, port, path, question).await;
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(client(roots)?);
    let stream = connector
        .connect(name, stream)
        .await
        .map_err(|error| told(&error))?;
    exchange(stream, host, port, path, question).await
}

fn told(error: &std::io::Error) -> String {
    error.to_string()
}

fn client(roots: Option<&str>) -> Result<Arc<ClientConfig>, String> {
    let read = match roots {
        Some(pem) => pem.as_bytes().to_vec(),
        None => {
            let path = muster_proto::dial::system_roots()?;
            std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?
        }
    };
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&read) {
        // A system's bundle has certificates that no current library reads, and is of use all the same.
        let _ = store.add(certificate.map_err(|error| format!("its roots: {error}"))?);
    }
    if store.is_empty() {
        return Err("none of its roots is a certificate that can be used".into());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(
        config.with_root_certificates(store).with_no_client_auth(),
    ))
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    host: &str,
    port: u16,
    path: &str,
    question: &Value,
) -> Result<String, String> {
    let body = question.to_string();
    let host = match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    };
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\nAccept: application/json\r\n\
         User-Agent: muster\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream
        .write_all(request.as_bytes())
        .await
        .map_err(|error| told(&error))?;
    stream.flush().await.map_err(|error| told(&error))?;
    let mut answer = Vec::new();
    let read = stream.take(ANSWER_BYTES).read_to_end(&mut answer).await;
    // Servers close a connection over TLS without a farewell; what has come is judged as it is.
    match read {
        Err(error) if answer.is_empty() => Err(told(&error)),
        _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
    }
}

fn understand(answer: &str) -> (GateVerdict, String) {
    let inconclusive = |why: &str| (GateVerdict::Inconclusive, why.chars().take(REASON).collect());
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return inconclusive("the answer is no HTTP");
    };
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        return inconclusive(&format!(
            "it answered {:?}",
            head.lines().next().unwrap_or_default()
        ));
    }
    // What comes in chunks has its length around it: the object is what counts.
    let object = body
        .find('{')
        .zip(body.rfind('}'))
        .and_then(|(from, to)| body.get(from..=to));
    let Some(told) = object.and_then(|object| serde_json::from_str::<Value>(object).ok()) else {
        return inconclusive("the answer is no JSON object");
    };
    let reason = told["reason"]
        .as_str()
        .unwrap_or("it gave no reason")
        .chars()
        .take(REASON)
        .collect();
    match told["verdict"].as_str() {
        Some("pass") => (GateVerdict::Pass, reason),
        Some("fail") => (GateVerdict::Fail, reason),
        Some("inconclusive") => (GateVerdict::Inconclusive, reason),
        other => inconclusive(&format!(
            "{other:?} is no verdict; pass, fail and inconclusive are"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn answered(answer: &'static str) -> (GateVerdict, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("free port");
        let url = format!("http://{}/gate", listener.local_addr().expect("bound"));
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("asked");
            let mut asked = vec![0; 4096];
            let read = stream.read(&mut asked).await.expect("read");
            stream.write_all(answer.as_bytes()).await.expect("written");
            String::from_utf8_lossy(&asked[..read]).into_owned()
        });
        let told = ask(
            &url,
            None,
            Duration::from_secs(5),
            &serde_json::json!({ "job": "j" }),
        )
        .await;
        let asked = server.await.expect("served");
        assert!(
            asked.starts_with("POST /gate HTTP/1.1\r\n") && asked.ends_with("{\"job\":\"j\"}"),
            "{asked}"
        );
        told
    }

    #[tokio::test]
    async fn a_clear_answer_is_taken_and_any_other_is_none() {
        let pass = answered("HTTP/1.1 200 OK\r\n\r\n{\"verdict\":\"pass\",\"reason\":\"quiet\"}").await;
        assert_eq!(pass, (GateVerdict::Pass, "quiet".into()));
        let chunked = answered("HTTP/1.1 200 OK\r\n\r\n14\r\n{\"verdict\":\"fail\"}\r\n0\r\n\r\n").await;
        assert_eq!(chunked.0, GateVerdict::Fail);
        for bad in [
            "HTTP/1.1 500 Oops\r\n\r\n{\"verdict\":\"pass\"}",
            "HTTP/1.1 200 OK\r\n\r\nyes",
            "HTTP/1.1 200 OK\r\n\r\n{\"verdict\":\"yes\"}",
            "hello",
        ] {
            assert_eq!(answered(bad).await.0, GateVerdict::Inconclusive, "{bad}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_says_nothing() {
        let (verdict, why) = ask("http://127.0.0.1:9/", None, Duration::from_secs(5), &Value::Null).await;
        assert_eq!(verdict, GateVerdict::Inconclusive, "{why}");
    }

    #[tokio::test]
    async fn over_tls_a_server_has_to_be_trusted() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .expect("a key");
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("localhost:0").await.expect("free port");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut asked = vec![0; 4096];
                let read = stream.read(&mut asked).await.expect("read");
                let is_right = asked[..read].starts_with(b"POST /gate HTTP/1.1\r\n");
                let verdict = if is_right { "pass" } else { "fail" };
                let answer = format!("HTTP/1.1 200 OK\r\n\r\n{{\"verdict\":\"{verdict}\"}}");
                stream.write_all(answer.as_bytes()).await.expect("written");
                // It goes away without a farewell.
                stream.flush().await.expect("written");
            }
        });
        let told = |roots: Option<String>, host: &str| {
            let url = format!("https://{host}:{port}/gate");
            async move { ask(&url, roots.as_deref(), Duration::from_secs(5), &Value::Null).await }
        };
        let pem = made.cert.pem();
        let (verdict, why) = told(Some(pem.clone()), "localhost").await;
        assert_eq!(verdict, GateVerdict::Pass, "{why}");
        // By another name, and under other roots, it may be anybody.
        let (verdict, why) = told(Some(pem), "127.0.0.1").await;
        assert_eq!(verdict, GateVerdict::Inconclusive, "{why}");
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let (verdict, why) = told(Some(other.cert.pem()), "localhost").await;
        assert_eq!(verdict, GateVerdict::Inconclusive);
        assert!(why.contains("certificate"), "{why}");
        let (_, why) = told(Some(String::new()), "localhost").await;
        assert_eq!(why, "none of its roots is a certificate that can be used");
    }
}
