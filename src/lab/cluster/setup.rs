//! How a cluster comes into being: data directories, settings, first start.

use std::fs;

use super::{Cluster, lock};
use crate::lab::settings::{self, ServerConf};
use crate::lab::workdir::MARKER;
use crate::lab::{Error, template};

impl Cluster {
    /// Fills the directory: copies of one stopped primary, so that nobody waits for a base backup.
    pub(super) fn prepare(&self) -> Result<(), Error> {
        let known = self.workdir.path().join(MARKER);
        if let Ok(name) = fs::read_to_string(&known) {
            self.index(name.trim())?;
            *lock(&self.primary) = name.trim().to_owned();
            return self.names.iter().try_for_each(|name| {
                // Whoever led the cluster then has set whom to follow, at ports that are others' now.
                template::write(&self.data_directory(name)?.join("postgresql.auto.conf"), "", self.run_as)?;
                self.write_settings(name)
            });
        }
        let sockets = self.socket_directory();
        fs::create_dir(&sockets).map_err(Error::file("cannot create", &sockets))?;
        self.run_as.own(&sockets)?;
        let template = template::prepared(&self.binaries, self.run_as, &self.names, &self.options.initdb)?;
        self.each_node(|name| {
            let data = self.data_directory(name)?;
            template::copy(&template, &data, self.run_as)?;
            // A server has no use for a slot of its own name, now or as a primary.
            let unused = self.names.iter().filter(|slot| !self.options.slots || *slot == name);
            for slot in unused {
                let _ = fs::remove_dir_all(data.join("pg_replslot").join(slot));
            }
            if *name != self.names[0] {
                template::write(&data.join("standby.signal"), "", self.run_as)?;
            }
            self.write_settings(name)
        })?;
        self.set_primary(&self.names[0])
    }

    /// Starts all servers together; standbys retry until their primary listens.
    pub(super) fn start_all(&self) -> Result<(), Error> {
        let primary = self.primary();
        let signal = self.shutdown().signal();
        let lost = |name: &&String| **name != primary && self.node(name).is_ok_and(|node| !node.is_standby());
        let (rejoining, starting): (Vec<_>, Vec<_>) = self.names.iter().partition(lost);
        for name in &starting {
            self.node(name)?.spawn(&self.binaries, self.run_as, self.spawner(name)?, signal)?;
        }
        for name in &starting {
            self.node(name)?.wait_ready()?;
        }
        // Only a directory kept from an earlier run can hold a former primary.
        for name in rejoining {
            self.rejoin(name)?;
        }
        self.wait_streaming()
    }

    pub(super) fn write_settings(&self, node: &str) -> Result<(), Error> {
        let primary = self.primary();
        self.write_settings_following(node, &primary)
    }

    pub(super) fn write_settings_following(&self, node: &str, primary: &str) -> Result<(), Error> {
        let data = self.data_directory(node)?;
        let tls = self.options.tls.as_ref();
        let conf = ServerConf {
            name: node,
            address: self.address(node)?,
            port: self.port(node)?,
            socket_directory: &self.socket_directory(),
            follows: (node != primary).then_some((self.address(primary)?, self.port(primary)?)),
            slot: self.options.slots,
            tls: tls.is_some(),
            client_ca: tls.is_some_and(|tls| tls.client_ca.is_some()),
            extra: &self.options.conf,
        };
        if let Some(tls) = tls {
            template::write(&data.join("server.crt"), &tls.certificate, self.run_as)?;
            template::write(&data.join("server.key"), &tls.key, self.run_as)?;
            let client_ca = tls.client_ca.as_deref().unwrap_or_default();
            template::write(&data.join("ca.crt"), client_ca, self.run_as)?;
        }
        template::write(&data.join("postgresql.conf"), &conf.render(), self.run_as)?;
        template::write(&data.join("pg_hba.conf"), &settings::host_rules(&self.options.hba), self.run_as)
    }

    pub(super) fn repoint_standbys(&self) -> Result<(), Error> {
        let primary = self.primary();
        for name in self.names.iter().filter(|name| **name != primary && self.is_running(name)) {
            if self.is_standby(name)? {
                self.follow(name, &primary)?;
            }
        }
        Ok(())
    }

    /// A rewound server has lost its slots (pg_rewind clears `pg_replslot`), so a new primary checks.
    pub(super) fn create_slots(&self, primary: &str) -> Result<(), Error> {
        if !self.options.slots {
            return Ok(());
        }
        let others: Vec<&str> =
            self.names.iter().map(String::as_str).filter(|name| *name != primary).collect();
        let missing = format!(
            "SELECT pg_create_physical_replication_slot(name) FROM unnest('{{{}}}'::name[]) name \
             WHERE name NOT IN (SELECT slot_name FROM pg_replication_slots)",
            others.join(",")
        );
        self.sql(primary, &missing).map(drop)
    }

    pub(super) fn set_primary(&self, node: &str) -> Result<(), Error> {
        let path = self.workdir.path().join(MARKER);
        fs::write(&path, node).map_err(Error::file("cannot write", &path))?;
        *lock(&self.primary) = node.to_owned();
        Ok(())
    }

    /// Runs `work` for every node at once.
    fn each_node(&self, work: impl Fn(&String) -> Result<(), Error> + Sync) -> Result<(), Error> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = self.names.iter().map(|name| scope.spawn(|| work(name))).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().expect("the copying thread does not panic"))
        })
    }
}
