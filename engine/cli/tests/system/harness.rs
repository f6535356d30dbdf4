//! A simulated fleet, an engine, workers and a client as real processes, on free ports and in a temporary folder.

pub(crate) mod api;
pub(crate) mod database;
pub(crate) mod log;
pub(crate) mod proxy;
pub(crate) mod session;
pub(crate) mod worker;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

use log::Log;

/// Of a fleet that runs one version, and whose updater offers another.
pub(crate) const UPGRADABLE: [&str; 4] = ["--version", "7.13.5", "--offers", "7.16.2"];

/// A running `muster sim`, addressed by its own range so that tests can run beside each other.
pub(crate) struct Fleet {
    child: Child,
    pub(crate) base: [u8; 4],
    pub(crate) port: u16,
    /// What the simulator says at its start.
    pub(crate) hello: Value,
    control: String,
}

impl Fleet {
    /// `network` is the second byte of the addresses: one for each test.
    pub(crate) fn start(network: u8, devices: usize, more: &[&str]) -> Self {
        let base = [127, network, 0, 1];
        let address = base.map(|byte| byte.to_string()).join(".");
        let mut child = muster()
            .args([
                "sim",
                "--json",
                "--until-stdin-closes",
                "--port",
                "0",
                "--control",
                "127.0.0.1:0",
            ])
            .args(["--base", &address, "--devices", &devices.to_string()])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the simulator starts");
        let line = first_line(child.stdout.take().expect("piped"));
        let hello: Value = serde_json::from_str(&line).expect("the simulator says where it is");
        let port = hello["port"].as_u64().expect("a port") as u16;
        let control = hello["control"].as_str().expect("a control address").to_owned();
        Self {
            child,
            base,
            port,
            hello,
            control,
        }
    }

    pub(crate) fn address(&self, index: usize) -> String {
        let [a, b, c, d] = u32::from_be_bytes(self.base)
            .wrapping_add(index as u32)
            .to_be_bytes();
        format!("{a}.{b}.{c}.{d}")
    }

    /// What the control API answers.
    pub(crate) fn get(&self, path: &str) -> Value {
        self.ask("GET", path, "")
    }

    /// Sets what a device does wrong.
    pub(crate) fn set_fault(&self, index: usize, fault: Option<&str>) {
        let body = serde_json::json!({ "fault": fault }).to_string();
        self.ask("POST", &format!("/devices/{index}/fault"), &body);
    }

    /// Every mutating command that a device executed, in order.
    pub(crate) fn journal(&self) -> Vec<Executed> {
        serde_json::from_value(self.get("/journal")).expect("a journal")
    }

    /// How many mutating commands were executed.
    pub(crate) fn executed(&self) -> u64 {
        self.get("/counters")["mutating_commands"]
            .as_u64()
            .expect("a count")
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let mut stream = std::net::TcpStream::connect(&self.control).expect("control API");
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: sim\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        serde_json::from_str(body).expect("JSON")
    }

    /// Index and fault of every device that has one.
    pub(crate) fn faults(&self) -> Vec<(usize, String)> {
        let devices = self.get("/devices");
        let devices = devices.as_array().expect("a list").iter();
        let fault = |device: &Value| {
            Some((
                device["index"].as_u64()? as usize,
                device["fault"].as_str()?.to_owned(),
            ))
        };
        devices.filter_map(fault).collect()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A line of the simulator's journal.
#[derive(Clone, Debug, serde::Deserialize)]
pub(crate) struct Executed {
    pub(crate) device: usize,
    pub(crate) words: Vec<String>,
    /// `done` or `trap`.
    pub(crate) result: String,
}

/// A running `muster serve`.
pub(crate) struct Engine {
    child: Option<Child>,
    pub(crate) url: String,
    pub(crate) directory: TempDir,
    more: Vec<String>,
    around: Vec<String>,
    environment: Vec<(String, String)>,
    pub(crate) log: Log,
}

impl Engine {
    pub(crate) fn start(more: &[&str]) -> Self {
        let mut engine = Self::prepare(more);
        engine.start_again();
        engine
    }

    /// An engine that does not run yet.
    pub(crate) fn prepare(more: &[&str]) -> Self {
        Self {
            child: None,
            url: "127.0.0.1:0".into(),
            directory: TempDir::new().expect("temporary directory"),
            more: more.iter().map(ToString::to_string).collect(),
            around: Vec::new(),
            environment: Vec::new(),
            log: Log::default(),
        }
    }

    /// Gives it more arguments.
    pub(crate) fn and(mut self, more: &[&str]) -> Self {
        self.more.extend(more.iter().map(ToString::to_string));
        self
    }

    /// Gives it a configuration file.
    pub(crate) fn configured(mut self, toml: &str) -> Self {
        let file = self.directory.path().join("muster.toml");
        std::fs::write(&file, toml).expect("written");
        self.more
            .extend(["--config".to_owned(), file.to_str().expect("UTF-8").to_owned()]);
        self
    }

    /// Starts it through another program, which is to replace itself by it.
    pub(crate) fn through(mut self, program: Vec<String>) -> Self {
        self.around = program;
        self
    }

    /// Sets a variable of its environment.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts on the same data and, after the first time, on the same port.
    pub(crate) fn start_again(&mut self) {
        let began = Instant::now();
        // Somebody's outgoing connection may have the port for a moment.
        while let Err(said) = self.try_start() {
            let taken = said.iter().any(|line| line.contains("Address already in use"));
            assert!(
                taken && began.elapsed() < Duration::from_secs(10),
                "the engine did not start: {said:?}"
            );
        }
    }

    /// Starts it, or returns what it said instead.
    pub(crate) fn try_start(&mut self) -> Result<(), Vec<String>> {
        let muster = muster();
        let mut words = self.around.clone();
        words.push(muster.get_program().to_str().expect("UTF-8").to_owned());
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .args(["serve", "--data"])
            .arg(self.data())
            .args(["--listen", self.url.trim_start_matches("http://")])
            .args(&self.more)
            .env("MUSTER_LOG", "info")
            .envs(self.environment.iter().cloned())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the engine starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut said = Vec::new();
        for line in lines.by_ref() {
            let line = line.expect("UTF-8");
            if let Ok(log) = serde_json::from_str::<Value>(&line)
                && log["fields"]["message"] == "engine started"
            {
                self.url = format!(
                    "http://{}",
                    log["fields"]["address"].as_str().expect("an address")
                );
                self.log.follow("engine", lines);
                self.child = Some(child);
                return Ok(());
            }
            said.push(line);
        }
        child.wait().expect("reaped");
        Err(said)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// SIGKILL: no chance to tidy up.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("running");
        child.kill().expect("killed");
        child.wait().expect("reaped");
    }

    /// A client command.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = muster();
        command
            .args(args)
            .env("MUSTER_ENGINE", &self.url)
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
        command
    }

    /// Stops it, and waits until each of its threads stands still.
    pub(crate) fn stop(&self) {
        stop(self.child.as_ref().expect("running"));
    }

    /// Lets it go on after a stop.
    pub(crate) fn go_on(&self) {
        send_signal(self.child.as_ref().expect("running"), Signal::CONT);
    }

    /// Runs a client command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran(self.command(args).output().expect("the client runs"))
    }

    /// Runs a client command with something on its standard input.
    pub(crate) fn run_with_input(&self, args: &[&str], input: &str) -> Ran {
        let mut command = self.command(args);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let child = child.as_mut().expect("the client runs");
        child
            .stdin
            .take()
            .expect("piped")
            .write_all(input.as_bytes())
            .expect("written");
        let mut ran = Ran(Output {
            status: Default::default(),
            stdout: Vec::new(),
            stderr: Vec::new(),
        });
        child
            .stdout
            .take()
            .expect("piped")
            .read_to_end(&mut ran.0.stdout)
            .expect("read");
        child
            .stderr
            .take()
            .expect("piped")
            .read_to_end(&mut ran.0.stderr)
            .expect("read");
        ran.0.status = child.wait().expect("ended");
        ran
    }

    /// Asks every device its name, without waiting; returns the job.
    pub(crate) fn begin_read(&self, timeout: &str) -> String {
        let words = [
            "run",
            "--all",
            "--detach",
            "--timeout",
            timeout,
            "--",
            "/system/identity/print",
        ];
        self.run(&words).exits(7).stdout().trim().to_owned()
    }

    /// Begins these steps on every device, whatever they harm; returns the job.
    pub(crate) fn begin_plan(&self, steps: &str, timeout: &str) -> String {
        std::fs::write(self.directory.path().join("plan.toml"), steps).expect("written");
        let all = [
            "run",
            "--all",
            "--plan",
            "plan.toml",
            "--budget",
            "all",
            "--yes",
            "--detach",
            "--timeout",
            timeout,
        ];
        self.run(&all).exits(7).stdout().trim().to_owned()
    }

    /// Waits until a job is over.
    pub(crate) fn wait_over(&self, id: &str) {
        until(&format!("{id} is over"), || {
            let job = self.run(&["job", "show", id, "--json"]).ok().json().remove(0);
            ["completed", "completed_with_failures"].contains(&job["state"].as_str().unwrap_or_default())
        });
    }

    /// Makes the credential of the fleet.
    pub(crate) fn set_credential(&self, password: &str) {
        let words = [
            "credential",
            "set",
            "ops",
            "--username",
            "admin",
            "--password-stdin",
        ];
        self.run_with_input(&words, password).ok();
    }

    /// Makes the credential and imports every device of a fleet as r0, r1, …
    pub(crate) fn import(&self, fleet: &Fleet, devices: usize, password: &str) {
        self.set_credential(password);
        let mut csv = String::from("name,address,port,transport,credential,zone,labels\n");
        for index in 0..devices {
            let (address, port) = (fleet.address(index), fleet.port);
            csv.push_str(&format!(
                "r{index},{address},{port},api,ops,,n={index};half={}\n",
                index % 2
            ));
        }
        self.run_with_input(&["device", "import", "-"], &csv).ok();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a client command said.
pub(crate) struct Ran(Output);

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self(output)
    }
}

impl Ran {
    pub(crate) fn code(&self) -> i32 {
        self.0.status.code().expect("an exit code")
    }

    /// Exit code 0.
    pub(crate) fn ok(self) -> Self {
        self.exits(0)
    }

    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code(),
            code,
            "stdout: {}\nstderr: {}",
            self.stdout(),
            self.stderr()
        );
        self
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).expect("UTF-8")
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).expect("UTF-8")
    }

    /// Standard output as one JSON value a line.
    pub(crate) fn json(&self) -> Vec<Value> {
        self.stdout()
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON lines"))
            .collect()
    }

    /// Results by device name.
    pub(crate) fn of(&self, device: &str) -> Value {
        let found = self.json().into_iter().find(|result| result["device"] == device);
        found.unwrap_or_else(|| panic!("no result of {device}"))
    }
}

/// Sends a process of ours a signal.
fn send_signal(child: &Child, signal: Signal) {
    rustix::process::kill_process(Pid::from_child(child), signal).expect("it runs");
}

/// Stops a process, and waits until each of its threads stands still.
fn stop(child: &Child) {
    send_signal(child, Signal::STOP);
    until("every thread stands still", || {
        let threads = std::fs::read_dir(format!("/proc/{}/task", child.id())).expect("it runs");
        threads.flatten().all(|thread| {
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            // pid (name) state …, and the name may hold anything.
            stat.rsplit_once(')')
                .is_some_and(|(_, rest)| rest.starts_with(" T"))
        })
    });
}

/// How long anything may take to come about: a flow of a router takes some seconds of its own, and a machine with other work many.
const LIMIT: Duration = Duration::from_secs(90);

/// Asks again until it is so.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < LIMIT, "{what} did not come about");
        pause(Duration::from_millis(1));
    }
}

/// Lets the processes work.
#[expect(
    clippy::disallowed_methods,
    reason = "between two looks at a process, and before a kill whose instant is drawn"
)]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

pub(crate) fn muster() -> Command {
    Command::new(env!("CARGO_BIN_EXE_muster"))
}

pub(crate) fn first_line(output: impl std::io::Read) -> String {
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).expect("readable");
    line
}
