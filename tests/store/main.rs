//! The agreement store: one set of promises, kept by every kind of it.

mod etcd;
mod etcd_access;
mod memory;
mod promises;
mod relay;
