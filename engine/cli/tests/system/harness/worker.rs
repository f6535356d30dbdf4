//! `muster worker` as a process of its own.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use rustix::process::Signal;

use super::{Engine, muster, send_signal};

/// A worker beside an engine.
pub(crate) struct Worker {
    child: Option<Child>,
    engine: String,
    words: Vec<String>,
    log: super::Log,
}

impl Worker {
    /// Starts one for this engine.
    pub(crate) fn start(engine: &Engine, name: &str, more: &[&str]) -> Self {
        Self::start_at(engine, &engine.url, name, more)
    }

    /// Starts one that reaches the engine at another address.
    pub(crate) fn start_at(engine: &Engine, url: &str, name: &str, more: &[&str]) -> Self {
        let token = engine.data().join("worker.token");
        let token = token.to_str().expect("UTF-8");
        let words = ["worker", "--name", name, "--token-file", token];
        let words = words.iter().chain(more).map(ToString::to_string).collect();
        let mut worker = Self {
            child: None,
            engine: url.to_owned(),
            words,
            log: engine.log.clone(),
        };
        worker.start_again();
        worker
    }

    /// Starts it again after a kill.
    pub(crate) fn start_again(&mut self) {
        let mut child = muster()
            .args(&self.words)
            .env("MUSTER_ENGINE", &self.engine)
            .env("MUSTER_LOG", "info")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the worker starts");
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        self.log.follow(&self.words[2], lines);
        self.child = Some(child);
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().expect("running").id()
    }

    /// Stops it, and waits until each of its threads stands still.
    pub(crate) fn stop(&self) {
        super::stop(self.child.as_ref().expect("running"));
    }

    /// Lets it go on after a stop.
    pub(crate) fn go_on(&self) {
        send_signal(self.child.as_ref().expect("running"), Signal::CONT);
    }

    /// SIGTERM.
    pub(crate) fn ask_to_go(&self) {
        send_signal(self.child.as_ref().expect("running"), Signal::TERM);
    }

    /// Waits until it has gone. Returns its exit code.
    pub(crate) fn wait(&mut self) -> i32 {
        let mut child = self.child.take().expect("running");
        super::until("the worker is gone", || child.try_wait().expect("ours").is_some());
        child.wait().expect("reaped").code().expect("no signal ended it")
    }

    /// SIGKILL: no chance to tidy up.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("running");
        child.kill().expect("killed");
        child.wait().expect("reaped");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}
