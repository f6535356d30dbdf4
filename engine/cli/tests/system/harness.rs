//! A simulated fleet, an engine and a client as real processes, on free ports and in a temporary folder.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A running `muster sim`, addressed by its own range so that tests can run beside each other.
pub(crate) struct Fleet {
    child: Child,
    pub(crate) base: [u8; 4],
    pub(crate) port: u16,
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
        let mut stream = std::net::TcpStream::connect(&self.control).expect("control API");
        let request = format!("GET {path} HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n");
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

/// A running `muster serve`.
pub(crate) struct Engine {
    child: Option<Child>,
    pub(crate) url: String,
    pub(crate) directory: TempDir,
    more: Vec<String>,
}

impl Engine {
    pub(crate) fn start(more: &[&str]) -> Self {
        let directory = TempDir::new().expect("temporary directory");
        let more = more.iter().map(ToString::to_string).collect();
        let mut engine = Self {
            child: None,
            url: "127.0.0.1:0".into(),
            directory,
            more,
        };
        engine.start_again();
        engine
    }

    /// Starts on the same data and, after the first time, on the same port.
    pub(crate) fn start_again(&mut self) {
        let mut child = muster()
            .args(["serve", "--data"])
            .arg(self.data())
            .args(["--listen", self.url.trim_start_matches("http://")])
            .args(&self.more)
            .env("MUSTER_LOG", "info")
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
                break;
            }
            said.push(line);
        }
        // Drained, so that the engine never waits for its log to be read.
        std::thread::spawn(move || lines.for_each(drop));
        assert!(self.url != "127.0.0.1:0", "the engine did not start: {said:?}");
        self.child = Some(child);
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

    /// Makes the credential and imports every device of a fleet as r0, r1, …
    pub(crate) fn import(&self, fleet: &Fleet, devices: usize, password: &str) {
        self.run_with_input(
            &[
                "credential",
                "set",
                "ops",
                "--username",
                "admin",
                "--password-stdin",
            ],
            password,
        )
        .ok();
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

/// Asks again until it is so; each question is a client command, which takes its time by itself.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{what} did not come about"
        );
    }
}

pub(crate) fn muster() -> Command {
    Command::new(env!("CARGO_BIN_EXE_muster"))
}

pub(crate) fn first_line(output: impl std::io::Read) -> String {
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).expect("readable");
    line
}
