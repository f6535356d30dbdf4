//! `muster credential`.

use std::io::BufRead as _;

use muster_proto::v1;
use serde_json::json;

use super::connect::Engine;
use super::result::timestamp;
use crate::args::Credential;
use crate::exit::{Done, Exit, Failure};
use crate::terminal::{can_ask, number};

pub(crate) async fn run(command: Credential, engine: &str, json: bool) -> Done {
    match command {
        Credential::Set {
            name,
            username,
            password_stdin,
        } => {
            // Before the connection: whoever pipes a password in should not have to do it twice.
            let password = password(password_stdin, &name)?;
            let request = v1::SetCredentialRequest {
                name,
                username,
                password,
            };
            let engine = Engine::connect(engine).await?;
            let answer = engine.credentials().set_credential(request).await?.into_inner();
            if let (Some(credential), true) = (answer.credential, json) {
                print_json(&credential);
            }
        }
        Credential::List => {
            let engine = Engine::connect(engine).await?;
            let answer = engine
                .credentials()
                .list_credentials(v1::ListCredentialsRequest {})
                .await?
                .into_inner();
            if json {
                answer.credentials.iter().for_each(print_json);
            } else {
                let mut table = super::result::table(["NAME", "USER", "DEVICES", "CHANGED"]);
                for credential in &answer.credentials {
                    table.add_row([
                        credential.name.clone(),
                        credential.username.clone(),
                        number(credential.devices),
                        timestamp(credential.updated_at.as_ref()).unwrap_or_default(),
                    ]);
                }
                crate::terminal::out(&table);
            }
        }
        Credential::Remove { name } => {
            let engine = Engine::connect(engine).await?;
            engine
                .credentials()
                .remove_credential(v1::RemoveCredentialRequest { name })
                .await?;
        }
    }
    Ok(Exit::Ok)
}

fn password(from_stdin: bool, name: &str) -> Result<String, Failure> {
    if from_stdin {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        return Ok(line.trim_end_matches(['\n', '\r']).to_owned());
    }
    if !can_ask() {
        return Err(Failure::usage("there is no terminal to ask for the password on")
            .hint("pipe it in: printf '%s\\n' \"$PASSWORD\" | muster credential set … --password-stdin"));
    }
    let prompt = dialoguer::Password::new()
        .with_prompt(format!("Password for {name}"))
        .allow_empty_password(true);
    prompt
        .interact()
        .map_err(|error| Failure::usage(format!("no password was given: {error}")))
}

fn print_json(credential: &v1::Credential) {
    let line = json!({
        "name": credential.name,
        "username": credential.username,
        "devices": credential.devices,
        "updated_at": timestamp(credential.updated_at.as_ref()),
    });
    crate::terminal::out(&line);
}
