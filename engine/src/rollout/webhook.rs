//! Asking a server at a gate (E3): a POST over HTTP/1.1 in the clear.

use std::time::Duration;

use muster_engine_core::rollout::advance::GateVerdict;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Of an answer, more is not read.
const ANSWER_BYTES: u64 = 64 << 10;
/// Of a reason, more is not kept.
const REASON: usize = 500;

/// Asks; whatever is no clear answer is inconclusive.
pub(crate) async fn ask(url: &str, timeout: Duration, question: &Value) -> (GateVerdict, String) {
    match tokio::time::timeout(timeout, post(url, question)).await {
        Ok(Ok(answer)) => understand(&answer),
        Ok(Err(error)) => (GateVerdict::Inconclusive, error),
        Err(_) => (GateVerdict::Inconclusive, format!("no answer within {timeout:?}")),
    }
}

async fn post(url: &str, question: &Value) -> Result<String, String> {
    let rest = url.strip_prefix("http://").ok_or("it is not asked over http")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address = match host.rsplit_once(':') {
        Some((_, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host.to_owned(),
        _ => format!("{host}:80"),
    };
    let told = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(address).await.map_err(told)?;
    let body = question.to_string();
    let request = format!(
        "POST /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nAccept: application/json\r\n\
         User-Agent: muster\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.map_err(told)?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_BYTES)
        .read_to_end(&mut answer)
        .await
        .map_err(told)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
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
        let told = ask(&url, Duration::from_secs(5), &serde_json::json!({ "job": "j" })).await;
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
        let (verdict, why) = ask("http://127.0.0.1:9/", Duration::from_secs(5), &Value::Null).await;
        assert_eq!(verdict, GateVerdict::Inconclusive, "{why}");
    }
}
