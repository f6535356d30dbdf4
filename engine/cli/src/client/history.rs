//! `muster history`.

use muster_proto::v1;
use serde_json::json;

use super::connect::Engine;
use super::result::{table, timestamp};
use crate::exit::{Done, Exit};
use crate::terminal::{is_closed, out, safe};

pub(crate) async fn run(subject: String, engine: &str, json: bool) -> Done {
    let engine = Engine::connect(engine).await?;
    let mut table = table(["TIME", "WHO", "ACTION", "SUBJECT", "REASON"]);
    let mut page_token = String::new();
    loop {
        let request = v1::ListHistoryRequest {
            page_size: 1000,
            page_token,
            subject: subject.clone(),
        };
        let page = engine.admin().list_history(request).await?.into_inner();
        for entry in &page.entries {
            if json {
                out(to_json(entry));
            } else {
                let why = [&entry.reason, &entry.detail].map(|text| safe(text).into_owned());
                table.add_row([
                    timestamp(entry.at.as_ref()).unwrap_or_default(),
                    safe(&entry.claimed_by).into_owned(),
                    entry.action.clone(),
                    safe(&entry.subject).into_owned(),
                    why.into_iter()
                        .filter(|text| !text.is_empty())
                        .collect::<Vec<_>>()
                        .join("; "),
                ]);
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() || is_closed() {
            break;
        }
    }
    if !json {
        out(&table);
    }
    Ok(Exit::Ok)
}

fn to_json(entry: &v1::HistoryEntry) -> serde_json::Value {
    json!({
        "id": entry.id,
        "at": timestamp(entry.at.as_ref()),
        "claimed_by": entry.claimed_by,
        "action": entry.action,
        "subject": entry.subject,
        "reason": entry.reason,
        "detail": entry.detail,
        "hash": entry.hash,
    })
}
