//! `muster admin certs`: a CA, and certificates for an engine, its workers and its clients.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::json;

use crate::args;
use crate::exit::{Done, Exit, Failure};

/// What the CA calls itself.
const CA: &str = "muster CA";
const CA_DAYS: u64 = 3650;
/// Clocks differ.
const BEFORE: Duration = Duration::from_secs(24 * 3600);

/// A certificate that the CA signs, by the name of its files.
struct Leaf {
    file: &'static str,
    usage: ExtendedKeyUsagePurpose,
    /// By which it is called.
    names: Vec<SanType>,
}

pub(crate) fn run(args: &args::Certs, json: bool) -> Done {
    let names = args
        .names
        .iter()
        .map(|name| san(name))
        .collect::<Result<Vec<_>, _>>()?;
    let dir = &args.dir;
    let path = |file: &str, kind: &str| dir.join(format!("{file}.{kind}"));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| Failure::usage(format!("--dir {}: {error}", dir.display())))?;
    let leaves = [
        ("engine", ExtendedKeyUsagePurpose::ServerAuth, names),
        ("worker", ExtendedKeyUsagePurpose::ClientAuth, Vec::new()),
        ("client", ExtendedKeyUsagePurpose::ClientAuth, Vec::new()),
    ]
    .map(|(file, usage, names)| Leaf { file, usage, names });
    let (ca, ca_key) = (path("ca", "pem"), path("ca", "key"));
    let has_ca = ca.exists() && ca_key.exists();
    let mut planned = leaves
        .iter()
        .flat_map(|leaf| [path(leaf.file, "pem"), path(leaf.file, "key")])
        .collect::<Vec<_>>();
    if !has_ca {
        planned.extend([ca.clone(), ca_key.clone()]);
    }
    let there = planned.iter().filter(|path| path.exists()).collect::<Vec<_>>();
    if !there.is_empty() {
        let there = there
            .iter()
            .map(|path| path.display().to_string())
            .collect::<Vec<_>>();
        return Err(Failure::new(
            Exit::Refused,
            "ALREADY_THERE",
            format!("nothing is overwritten, and there are already {}", there.join(", ")),
        )
        .hint("move them away to make new ones from the same CA (keep ca.pem and ca.key), or name another --dir"));
    }

    // All is made before anything is written.
    let mut files = Vec::new();
    let params = ca_params()?;
    let key = if has_ca {
        let text = std::fs::read_to_string(&ca_key)
            .map_err(|error| Failure::usage(format!("{}: {error}", ca_key.display())))?;
        KeyPair::from_pem(&text).map_err(|error| Failure::usage(format!("{}: {error}", ca_key.display())))?
    } else {
        let key = KeyPair::generate()?;
        files.push((ca.clone(), params.self_signed(&key)?.pem()));
        files.push((ca_key.clone(), key.serialize_pem()));
        key
    };
    let issuer = Issuer::from_params(&params, &key);
    for leaf in leaves {
        let key = KeyPair::generate()?;
        let certificate =
            leaf_params(leaf.file, leaf.usage, leaf.names, args.days).signed_by(&key, &issuer)?;
        files.push((path(leaf.file, "pem"), certificate.pem()));
        files.push((path(leaf.file, "key"), key.serialize_pem()));
    }
    if has_ca {
        check_issued(&ca, &files)?;
    }
    for (path, text) in &files {
        write(path, text)?;
    }
    tell(args, has_ca, &files, json);
    Ok(Exit::Ok)
}

impl From<rcgen::Error> for Failure {
    fn from(error: rcgen::Error) -> Self {
        Self::usage(format!("a certificate cannot be made: {error}"))
    }
}

/// A name or address as a certificate has it.
fn san(name: &str) -> Result<SanType, Failure> {
    let bad = || {
        Failure::usage(format!(
            "--name {name:?} is neither a host name nor an IP address; give what the engine is called by, without https:// \
             and port"
        ))
    };
    if let Ok(ip) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(ip));
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_name = name.len() <= 253 && name.strip_prefix("*.").unwrap_or(name).split('.').all(is_label);
    if !is_name {
        return Err(bad());
    }
    Ok(SanType::DnsName(name.try_into().map_err(|_| bad())?))
}

fn ca_params() -> Result<CertificateParams, Failure> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, CA);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    lasts(&mut params, CA_DAYS);
    Ok(params)
}

fn leaf_params(
    name: &str,
    usage: ExtendedKeyUsagePurpose,
    names: Vec<SanType>,
    days: u32,
) -> CertificateParams {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, format!("muster {name}"));
    params.subject_alt_names = names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    lasts(&mut params, days.into());
    params
}

fn lasts(params: &mut CertificateParams, days: u64) {
    let now = SystemTime::now();
    params.not_before = (now - BEFORE).into();
    params.not_after = (now + Duration::from_secs(days * 24 * 3600)).into();
}

/// An existing CA may be somebody else's, with another name: then what was signed in our CA's name is of no use.
fn check_issued(ca: &Path, files: &[(PathBuf, String)]) -> Result<(), Failure> {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, UnixTime};
    let roots = muster_proto::dial::read_roots(ca)?;
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
        .build()
        .map_err(|error| Failure::usage(format!("{}: {error}", ca.display())))?;
    let worker = files.iter().find(|(path, _)| path.ends_with("worker.pem"));
    let Some((_, text)) = worker else { return Ok(()) };
    let checked = CertificateDer::from_pem_slice(text.as_bytes())
        .map_err(|error| error.to_string())
        .and_then(|certificate| {
            verifier
                .verify_client_cert(&certificate, &[], UnixTime::now())
                .map_err(|error| error.to_string())
        });
    match checked {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::usage(format!(
            "{} is no CA that this command made, or ca.key is not its key ({error})",
            ca.display()
        ))),
    }
}

/// For its owner only, and never over another.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let told = |error: std::io::Error| Failure::usage(format!("{}: {error}", path.display()));
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(told)?;
    file.write_all(text.as_bytes()).map_err(told)?;
    file.sync_all().map_err(told)
}

fn tell(args: &args::Certs, has_ca: bool, files: &[(PathBuf, String)], json: bool) {
    let written = files
        .iter()
        .map(|(path, _)| path.display().to_string())
        .collect::<Vec<_>>();
    if json {
        crate::terminal::out(json!({ "written": written, "names": args.names, "ca_kept": has_ca }));
        return;
    }
    let dir = args.dir.display();
    let name = args.names.first().map(String::as_str).unwrap_or_default();
    let host = if name.contains(':') {
        format!("[{name}]")
    } else {
        name.to_owned()
    };
    for path in &written {
        crate::terminal::out(format_args!("wrote {path}"));
    }
    crate::terminal::out(format_args!(
        "
On the engine's machine (ca.key stays where it is safe; it is needed to make more certificates, and by nobody who runs):
  muster serve --listen 0.0.0.0:7600 --tls-cert {dir}/engine.pem --tls-key {dir}/engine.key
On a worker's machine, with ca.pem and the engine's DATA/worker.token:
  muster worker --engine https://{host}:7600 --ca {dir}/ca.pem --token-file worker.token --zone ZONE
On a client's, with ca.pem and the engine's DATA/client.token:
  muster --engine https://{host}:7600 --ca {dir}/ca.pem --client-token-file client.token admin status
To let in only who has a certificate as well, give the engine --tls-client-ca {dir}/ca.pem, workers
  --cert {dir}/worker.pem --key {dir}/worker.key, and clients --cert {dir}/client.pem --key {dir}/client.key.
The certificates are good for {} days; the engine reads its own again when they change.",
        args.days
    ));
}
