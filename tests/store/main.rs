//! The agreement store: one set of promises, kept by every kind of it.

mod etcd;
mod memory;
mod promises;
