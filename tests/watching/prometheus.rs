//! A real Prometheus, as a child process.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::promtool::INSTALL;

/// A running Prometheus. Dropping it ends it and removes its data.
pub struct Prometheus {
    child: Child,
    port: u16,
    directory: PathBuf,
}

const PATIENCE: Duration = Duration::from_secs(60);

impl Prometheus {
    /// Starts one that scrapes these ports of 127.0.0.1 each second as cluster `main`, and judges `rules` as often.
    pub fn start(targets: &[u16], rules: &std::path::Path) -> Prometheus {
        let port = free_port();
        let directory = std::env::temp_dir().join(format!("bellwether-prometheus-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("the temporary directory can be written to");
        let targets: Vec<_> = targets.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: [ {:?} ]\n\
             scrape_configs:\n  - job_name: bellwether\n    static_configs:\n      \
             - {{ targets: {targets:?}, labels: {{ cluster: main }} }}\n",
            rules.display().to_string(),
        );
        let file = directory.join("prometheus.yml");
        std::fs::write(&file, config).expect("its directory can be written to");
        let log = std::fs::File::create(directory.join("log")).expect("its directory can be written to");
        // Ends with the thread that starts it: the test's own, which lives as long as the test.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "prometheus"])
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("setpriv: {error}"));
        let mut prometheus = Prometheus { child, port, directory };
        prometheus.wait_ready();
        prometheus
    }

    /// Asks for the values of `expression` now.
    pub fn now(&self, expression: &str) -> Vec<Value> {
        self.result(&format!("/api/v1/query?query={}", encoded(expression)), expression)
    }

    /// Asks for the values of `expression` in the last `back`, a second apart.
    pub fn range(&self, expression: &str, back: Duration) -> Vec<Value> {
        let end =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is past 1970");
        let (end, start) = (end.as_secs_f64(), (end - back).as_secs_f64());
        let query = encoded(expression);
        self.result(&format!("/api/v1/query_range?query={query}&start={start}&end={end}&step=1s"), expression)
    }

    /// Waits until `expression` has a value.
    pub fn wait_for(&self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.now(expression).is_empty() {
            assert!(Instant::now() < deadline, "{expression} is still empty\n{}", self.log());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Asks Prometheus for something else.
    pub fn ask(&self, path: &str) -> Value {
        let answer = self.get(path).unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.log()));
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error}\n{head}\n{body}"))
    }

    fn result(&self, path: &str, expression: &str) -> Vec<Value> {
        let answer = self.ask(path);
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().expect("a result is a list").clone()
    }

    fn wait_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.get("/-/ready").is_ok_and(|answer| answer.contains(" 200 ")) {
            let ended = self.child.try_wait().expect("a child can be asked");
            assert!(ended.is_none(), "prometheus did not start\n{}\n{INSTALL}", self.log());
            assert!(Instant::now() < deadline, "prometheus is not ready\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// One request in HTTP/1.0, whose answers are never in chunks.
    fn get(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("there is a free port");
    listener.local_addr().expect("a listener has an address").port()
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
