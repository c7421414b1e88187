//! Machines of their own for servers and proxies: network namespaces on one bridge, whose links can be cut.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use super::Error;
use super::ports::Port;

/// Where a process of the lab runs. The default is this machine as it is, at 127.0.0.1.
#[derive(Clone, Debug)]
pub struct Host {
    address: Ipv4Addr,
    space: Option<Arc<Space>>,
}

/// Some hosts that reach each other, and that this machine reaches. Gone with the last of them, whatever happens to this
/// process: the kernel takes a namespace away when nobody has it open any more.
#[derive(Debug)]
pub struct Network {
    hosts: Vec<Host>,
    _hub: Space,
    /// Makes the addresses ours.
    _number: Port,
}

/// A network namespace.
#[derive(Debug)]
struct Space(File);

impl Network {
    /// Makes this many hosts. Takes root, `ip` and `iptables`.
    pub fn start(hosts: usize) -> Result<Network, Error> {
        let number = Port::reserve()?;
        let [high, low] = number.number().to_be_bytes();
        let address = |last: usize| Ipv4Addr::new(10, high, low, last as u8);
        let hub = Space::new()?;
        hub.run("ip", "link add hub type bridge")?;
        hub.run("ip", "link set hub up")?;
        // The way in for whoever starts all this.
        let ours = format!("lab{}", number.number());
        run("ip", &format!("link add {ours} type veth peer name lab netns {}", hub.path()))?;
        run("ip", &format!("addr add {}/24 dev {ours}", address(1)))?;
        run("ip", &format!("link set {ours} up"))?;
        hub.run("ip", "link set lab master hub up")?;
        let host = |nth: usize| {
            let space = Space::new()?;
            hub.run("ip", &format!("link add port{nth} type veth peer name lab netns {}", space.path()))?;
            hub.run("ip", &format!("link set port{nth} master hub up"))?;
            space.run("ip", &format!("addr add {}/24 dev lab", address(nth + 2)))?;
            space.run("ip", "link set lab up")?;
            space.run("ip", "link set lo up")?;
            Ok(Host { address: address(nth + 2), space: Some(Arc::new(space)) })
        };
        let hosts = (0..hosts).map(host).collect::<Result<_, Error>>()?;
        Ok(Network { hosts, _hub: hub, _number: number })
    }

    /// Returns one of the hosts.
    pub fn host(&self, nth: usize) -> Host {
        self.hosts[nth].clone()
    }
}

impl Host {
    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Drops from now on what comes from `other`, which is told nothing. The other direction stays.
    pub fn ignore(&self, other: &Host) -> Result<(), Error> {
        self.filter(&format!("-A INPUT -s {} -j DROP", other.address))
    }

    /// Drops from now on all that comes in, and all that goes out.
    pub fn cut_off(&self) -> Result<(), Error> {
        self.filter("-P INPUT DROP")?;
        self.filter("-P OUTPUT DROP")
    }

    /// Drops from now on all that goes out, and lets in what comes.
    pub fn silence(&self) -> Result<(), Error> {
        self.filter("-P OUTPUT DROP")
    }

    /// Lets everything pass again.
    pub fn heal(&self) -> Result<(), Error> {
        self.filter("-F")?;
        self.filter("-P INPUT ACCEPT")?;
        self.filter("-P OUTPUT ACCEPT")
    }

    fn filter(&self, rule: &str) -> Result<(), Error> {
        match &self.space {
            Some(space) => space.run("iptables", &format!("-w {rule}")),
            None => Err(Error::Namespace("this host is the machine itself".to_owned())),
        }
    }

    /// Moves the calling thread there; what it starts from now on runs there. On the machine itself, does nothing.
    pub(super) fn enter(&self) -> Result<(), Error> {
        self.space.as_ref().map_or(Ok(()), |space| space.enter())
    }
}

impl Default for Host {
    fn default() -> Self {
        Host { address: Ipv4Addr::LOCALHOST, space: None }
    }
}

impl Space {
    fn new() -> Result<Space, Error> {
        let make = || {
            // SAFETY: what is given up is this thread's part in the process's network, and the thread ends here. No
            // descriptors are unshared, which is what could go wrong.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
            File::open("/proc/thread-self/ns/net").map(Space)
        };
        let made = std::thread::spawn(make).join().expect("the thread does not panic");
        made.map_err(|error| Error::Namespace(error.to_string()))
    }

    fn enter(&self) -> Result<(), Error> {
        let moved = move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network));
        moved.map_err(|error| Error::Namespace(error.to_string()))
    }

    /// A name for it that other programs understand, as long as we live.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Runs a program inside.
    fn run(&self, program: &str, arguments: &str) -> Result<(), Error> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| self.enter().and_then(|()| run(program, arguments)));
            inside.join().expect("the thread does not panic")
        })
    }
}

fn run(program: &str, arguments: &str) -> Result<(), Error> {
    let mut command = Command::new(program);
    // Where an ordinary user's path does not lead.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).args(arguments.split(' ')).stdin(Stdio::null());
    let output: Output = command.output().map_err(|_| Error::NotInstalled {
        what: "ip or iptables",
        looked_in: "PATH, /usr/sbin, /sbin".to_owned(),
        install: "Run ./dev setup, or: apt-get install iproute2 iptables".to_owned(),
    })?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Error::Failed {
            program: format!("{program} {arguments}"),
            status: output.status.to_string(),
            output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;

    /// Whether a connection from `one` to a listener on `other` comes about in a moment.
    fn reaches(one: &Host, other: &Host) -> bool {
        let inside = |host: &Host| host.enter().expect("it can be entered");
        std::thread::scope(|scope| {
            let listen = scope.spawn(|| {
                inside(other);
                TcpListener::bind((other.address(), 5000)).expect("nobody else is there")
            });
            let listener = listen.join().expect("no panic");
            let connect = scope.spawn(|| {
                inside(one);
                let address = (other.address(), 5000).into();
                let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(500)).ok()?;
                stream.write_all(b"x").ok()
            });
            let reached = connect.join().expect("no panic").is_some();
            if reached {
                let mut byte = [0];
                let (mut stream, _) = listener.accept().expect("it is there");
                assert!(stream.read_exact(&mut byte).is_ok() && byte == *b"x");
            }
            reached
        })
    }

    #[test]
    fn links_are_cut_and_mended() {
        let network = Network::start(3).unwrap_or_else(|error| panic!("{error}"));
        let [a, b, c] = [0, 1, 2].map(|nth| network.host(nth));
        assert!(reaches(&a, &b) && reaches(&b, &c) && reaches(&Host::default(), &a));
        b.ignore(&a).unwrap();
        assert!(!reaches(&a, &b) && !reaches(&b, &a) && reaches(&c, &b) && reaches(&a, &c));
        b.heal().unwrap();
        c.cut_off().unwrap();
        assert!(reaches(&a, &b) && !reaches(&a, &c) && !reaches(&Host::default(), &c));
        c.heal().unwrap();
        assert!(reaches(&a, &c));
    }
}
