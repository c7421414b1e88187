//! Starts child processes that die with us.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};

use super::{Error, Host};

/// A thread that forks on behalf of a lab and lives as long as it.
///
/// The kernel sends the "parent died" signal when the *thread* that forked ends, not the process. Tests fork
/// from short-lived threads, so one long-lived thread does it for all.
#[derive(Debug)]
pub(super) struct Spawner {
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

type Order = (Command, Sender<io::Result<Child>>);

impl Spawner {
    /// What it starts runs on `host`.
    pub(super) fn on(host: &Host) -> Spawner {
        let (orders, inbox) = channel::<Order>();
        let host = host.clone();
        let thread = std::thread::Builder::new()
            .name("lab-spawner".to_owned())
            .spawn(move || {
                let entered = host.enter();
                for (mut command, reply) in inbox {
                    // A caller that went away takes its child with it: dropping the handle leaves it running
                    // only until this thread ends.
                    let _ = reply.send(match &entered {
                        Ok(()) => command.spawn(),
                        Err(error) => Err(io::Error::other(error.to_string())),
                    });
                }
            })
            .expect("the process can start one more thread");
        Spawner { orders: Some(orders), thread: Some(thread) }
    }

    /// Starts `command` in a process group of its own (a Ctrl-C on the terminal is ours to handle); it gets
    /// `on_death` when this process, or this spawner, is no more.
    pub(super) fn spawn(&self, mut command: Command, on_death: Signal) -> Result<Child, Error> {
        let program = command.get_program().to_string_lossy().into_owned();
        die_with_parent(&mut command, on_death);
        let (reply, answer) = channel();
        self.orders
            .as_ref()
            .expect("orders are taken away only in drop")
            .send((command, reply))
            .expect("the spawner's thread ends only in drop");
        let spawned = answer.recv().expect("the spawner answers every order");
        spawned.map_err(|source| Error::Spawn { program, source })
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        self.orders.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sends `signal` to a child; one that is gone already is no error.
pub(super) fn signal(child: &Child, signal: Signal) {
    if let Some(pid) = Pid::from_raw(child.id() as i32) {
        let _ = kill_process(pid, signal);
    }
}

fn die_with_parent(command: &mut Command, on_death: Signal) {
    let parent = rustix::process::getpid();
    command.process_group(0);
    // SAFETY: runs between fork and exec and makes two system calls, both async-signal-safe; no allocation.
    // It comes after the change of user, which would clear the setting.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(on_death))?;
            // The parent may have died between the fork and the call above.
            if getppid() != Some(parent) {
                return Err(io::Error::other("the parent is gone"));
            }
            Ok(())
        });
    }
}
