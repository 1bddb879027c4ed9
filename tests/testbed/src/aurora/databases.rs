//! The effects of a script on databases, one method each.
//!
//! [`super::postgres`] implements them with real PostgreSQL. [`NoDatabases`] does nothing: for tests of what the
//! control plane publishes, and for the contract tests, which need no data.

use std::net::Ipv4Addr;

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// One instance's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseNode {
    /// Its cluster.
    pub cluster: String,
    /// `DBInstanceIdentifier`.
    pub name: String,
    /// The address that its names lead to.
    pub address: Ipv4Addr,
    /// The databases' `max_connections`.
    pub max_connections: u16,
}

/// What databases can do. Each returns when it is done.
pub trait Databases: Send + Sync {
    /// Becomes a new primary, with roles and the table for load.
    fn create_writer(&self, node: &DatabaseNode) -> Result<()>;

    /// Becomes a standby of the writer, by a copy of it.
    fn join(&self, node: &DatabaseNode, writer: &DatabaseNode) -> Result<()>;

    /// Shuts down cleanly.
    fn stop(&self, node: &DatabaseNode) -> Result<()>;

    /// Becomes the primary, after a restart or without one.
    fn promote(&self, node: &DatabaseNode, restart: bool) -> Result<()>;

    /// Follows another writer; its connections stay.
    fn follow(&self, node: &DatabaseNode, writer: &DatabaseNode) -> Result<()>;

    /// A stopped, dead or running instance becomes a standby, after a restart.
    fn rejoin(&self, node: &DatabaseNode, writer: &DatabaseNode) -> Result<()>;

    /// The primary restarts as such.
    fn restart(&self, node: &DatabaseNode) -> Result<()>;

    /// Dies at once, all its processes.
    fn kill(&self, node: &DatabaseNode) -> Result<()>;

    /// Is killed, and leaves neither data nor address.
    fn remove(&self, node: &DatabaseNode) -> Result<()>;

    /// Packets from and to its address are dropped.
    fn partition(&self, node: &DatabaseNode) -> Result<()>;

    /// Undoes [`Databases::partition`].
    fn heal(&self, node: &DatabaseNode) -> Result<()>;

    /// Is it a standby? `None`: it does not answer.
    fn is_standby(&self, node: &DatabaseNode) -> Option<bool>;
}

/// No databases at all.
#[derive(Debug, Default)]
pub struct NoDatabases;

impl Databases for NoDatabases {
    fn create_writer(&self, _: &DatabaseNode) -> Result<()> {
        Ok(())
    }

    fn join(&self, _: &DatabaseNode, _: &DatabaseNode) -> Result<()> {
        Ok(())
    }

    fn stop(&self, _: &DatabaseNode) -> Result<()> {
        Ok(())
    }

    fn promote(&self, _: &DatabaseNode, _: bool) -> Result<()> {
        Ok(())
    }

    fn follow(&self, _: &DatabaseNode, _: &DatabaseNode) -> Result<()> {
        Ok(())
    }

    fn rejoin(&self, _: &DatabaseNode, _: &DatabaseNode) -> Result<()> {
        Ok(())
    }

    fn restart(&self, _: &DatabaseNode) -> Result<()> {
        Ok(())
    }

    fn kill(&self, _: &DatabaseNode) -> Result<()> {
        Ok(())
    }

    fn remove(&self, _: &DatabaseNode) -> Result<()> {
        Ok(())
    }

    fn partition(&self, _: &DatabaseNode) -> Result<()> {
        Ok(())
    }

    fn heal(&self, _: &DatabaseNode) -> Result<()> {
        Ok(())
    }

    fn is_standby(&self, _: &DatabaseNode) -> Option<bool> {
        None
    }
}
