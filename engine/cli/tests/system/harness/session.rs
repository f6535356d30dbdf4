//! A worker made by hand: it says what a test wants, when the test wants it.

use muster_proto::v1;
use muster_proto::v1::session_request::Message as Up;
use muster_proto::v1::session_response::Message as Down;
use muster_proto::v1::worker_service_client::WorkerServiceClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

use super::Engine;
use super::api::Api;

/// One session of it. It has no heart: the engine hears nothing that is not asked for here.
pub(crate) struct Session<'a> {
    api: &'a Api,
    up: mpsc::Sender<v1::SessionRequest>,
    down: Streaming<v1::SessionResponse>,
    /// What the engine took from it.
    pub(crate) revoked: Vec<v1::HeldLease>,
    seq: u64,
}

impl<'a> Session<'a> {
    /// Opens a session of the worker's process `instance`, which holds these leases.
    pub(crate) fn open(api: &'a Api, engine: &Engine, instance: &str, held: Vec<v1::HeldLease>) -> Self {
        let mut session = Self::begin(api, engine, instance, held);
        let Down::Welcome(welcome) = session.next() else {
            panic!("a session begins with a welcome")
        };
        session.revoked = welcome.revoked;
        session
    }

    /// Asks for a session and does not wait for the welcome.
    pub(crate) fn begin(api: &'a Api, engine: &Engine, instance: &str, held: Vec<v1::HeldLease>) -> Self {
        let (up, receiver) = mpsc::channel(16);
        let mut request = Request::new(ReceiverStream::new(receiver));
        let token = std::fs::read_to_string(engine.data().join("worker.token")).expect("a token");
        let bearer = format!("Bearer {}", token.trim()).parse().expect("ASCII");
        request.metadata_mut().insert("authorization", bearer);
        let mut client = WorkerServiceClient::new(api.channel());
        let opened = api.runtime().block_on(async {
            let hello = Up::Hello(v1::Hello {
                name: instance.to_owned(),
                instance: instance.to_owned(),
                slots: 10,
                held,
                ..v1::Hello::default()
            });
            up.send(message(hello)).await.expect("open");
            client.session(request).await
        });
        Self {
            api,
            up,
            down: opened.expect("a session").into_inner(),
            revoked: Vec::new(),
            seq: 0,
        }
    }

    /// Takes one execution.
    pub(crate) fn take(&mut self) -> v1::Assignment {
        self.say(Up::Demand(v1::Demand { executions: 1 }));
        loop {
            if let Down::Assignments(assignments) = self.next() {
                return assignments.assignments.into_iter().next().expect("one");
            }
        }
    }

    /// Asks whether a step may be sent.
    pub(crate) fn ask(&mut self, execution: u64, epoch: u64, step: u32) -> v1::IntentVerdict {
        let intent = v1::Intent {
            execution,
            epoch,
            step,
            memo: Vec::new(),
        };
        self.say(Up::Intents(v1::Intents {
            intents: vec![intent],
            ..v1::Intents::default()
        }));
        loop {
            if let Down::IntentAnswers(answers) = self.next() {
                return answers.answers[0].verdict();
            }
        }
    }

    /// Reports, and waits until the engine has it on disk.
    pub(crate) fn report(&mut self, report: v1::Report) {
        self.seq += 1;
        self.say(Up::Reports(v1::Reports {
            seq: self.seq,
            reports: vec![report],
        }));
        while !matches!(self.next(), Down::ReportsAck(ack) if ack.seq == self.seq) {}
    }

    fn say(&self, up: Up) {
        self.up.blocking_send(message(up)).expect("the session is open");
    }

    fn next(&mut self) -> Down {
        let message = self.api.runtime().block_on(self.down.message());
        let message = message.expect("the session goes on").expect("it does not end");
        message.message.expect("a message")
    }
}

fn message(up: Up) -> v1::SessionRequest {
    v1::SessionRequest { message: Some(up) }
}
