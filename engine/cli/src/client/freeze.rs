//! `muster freeze`: nothing with effects starts anywhere while it lasts.

use clap::Subcommand;
use muster_proto::v1;
use serde_json::json;

use super::connect::{Engine, claimed_by};
use super::result::timestamp;
use crate::exit::{Done, Exit};
use crate::terminal::{out, safe};

#[derive(Debug, Subcommand)]
pub(crate) enum Freeze {
    /// From now on nothing with effects starts; what is in flight goes on to its end
    On {
        /// Why, for the record
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Jobs go on
    Off {
        /// Why, for the record
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Whether there is one, since when, by whom and why
    Show,
}

pub(crate) async fn run(command: Freeze, engine: &str, json: bool) -> Done {
    let engine = Engine::connect(engine).await?;
    let (on, reason) = match command {
        Freeze::Show => return show(&engine, json).await,
        Freeze::On { reason } => (true, reason),
        Freeze::Off { reason } => (false, reason),
    };
    let request = v1::SetFreezeRequest {
        on,
        reason,
        claimed_by: claimed_by(),
    };
    let changed = engine.jobs().set_freeze(request).await?.into_inner().changed;
    match (json, on, changed) {
        (true, ..) => out(json!({ "frozen": on, "changed": changed })),
        (false, true, true) => anstream::eprintln!("frozen: nothing with effects starts any more"),
        (false, true, false) => anstream::eprintln!("it was frozen already"),
        (false, false, true) => anstream::eprintln!("jobs go on"),
        (false, false, false) => anstream::eprintln!("it was not frozen"),
    }
    Ok(Exit::Ok)
}

async fn show(engine: &Engine, json: bool) -> Done {
    let freeze = engine
        .jobs()
        .get_freeze(v1::GetFreezeRequest {})
        .await?
        .into_inner();
    let since = timestamp(freeze.since.as_ref());
    if json {
        out(json!({
            "frozen": freeze.on, "since": since, "reason": freeze.reason, "claimed_by": freeze.claimed_by,
        }));
    } else if freeze.on {
        let since = since.unwrap_or_default();
        out(format_args!(
            "frozen since {since} by {}: {}",
            safe(&freeze.claimed_by),
            safe(&freeze.reason)
        ));
    } else {
        out("not frozen");
    }
    Ok(Exit::Ok)
}
