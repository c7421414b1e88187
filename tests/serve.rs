//! Signals of a running proxy: reload, a refused reload, and the end. Its servers need not exist.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(20);

struct Proxy {
    child: Child,
    log: Receiver<serde_json::Value>,
    file: PathBuf,
}

impl Proxy {
    fn start(name: &str, settings: &str) -> Self {
        let file = std::env::temp_dir().join(format!("bellwether-serve-{}-{name}.toml", std::process::id()));
        let mut proxy = Command::new(env!("CARGO_BIN_EXE_bellwether"));
        write(&file, settings);
        proxy.args(["proxy", "--config"]).arg(&file).env_clear();
        let mut child = proxy.stderr(Stdio::piped()).spawn().expect("the program was built with this test");
        let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let (sender, log) = channel();
        std::thread::spawn(move || {
            let parse =
                |line: String| serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
            lines.map_while(Result::ok).map(parse).try_for_each(|line| sender.send(line))
        });
        Proxy { child, log, file }
    }

    /// Waits for a line of the log that begins with `message`.
    fn wait_for(&self, message: &str) -> serde_json::Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.log.recv_timeout(left).unwrap_or_else(|_| panic!("\"{message}\" was not logged"));
            if line["message"].as_str().is_some_and(|text| text.starts_with(message)) {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a child has a pid");
        kill_process(pid, signal).expect("the child is still there");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.file);
    }
}

fn write(file: &std::path::Path, settings: &str) {
    let rest =
        "listen = \"127.0.0.1:0\"\nhttp.listen = \"127.0.0.1:0\"\nnodes.a = \"postgres://127.0.0.1:1\"\n";
    std::fs::write(file, format!("{settings}\n{rest}")).expect("the temporary directory can be written to");
}

#[test]
fn reloads_on_hangup_all_or_nothing() {
    let proxy = Proxy::start("reload", "pool.size = 3");
    proxy.wait_for("started");

    write(&proxy.file, "pool.size = 4\nworkers = 3");
    proxy.signal(Signal::HUP);
    assert_eq!(proxy.wait_for("this key was changed and takes effect when")["key"], "workers");
    assert_eq!(proxy.wait_for("configuration reloaded")["changed"], "pool.size");

    write(&proxy.file, "pool.size = 5\npool.min = \"x\"");
    proxy.signal(Signal::HUP);
    let refused = proxy.wait_for("reload refused");
    assert!(refused["message"].as_str().is_some_and(|text| text.contains(":2:12: expected a whole number")));

    write(&proxy.file, "pool.size = 5");
    proxy.signal(Signal::HUP);
    assert_eq!(proxy.wait_for("configuration reloaded")["changed"], "pool.size");
}

#[test]
fn stops_with_0_when_told() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut proxy = Proxy::start(&format!("stop-{}", signal.as_raw()), "");
        proxy.wait_for("started");
        proxy.signal(signal);
        proxy.wait_for("stopped");
        assert_eq!(proxy.child.wait().expect("it can be waited for").code(), Some(0));
    }
}
