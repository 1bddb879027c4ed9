//! What the control plane asks of its databases: the effects of a script, one a method.
//!
//! [`super::postgres`] does them for real. [`Paper`] does nothing: for tests of the control plane's own words, and
//! for the contract tests, which need no data.

use std::net::Ipv4Addr;

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// One instance's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
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
    fn found(&self, node: &Node) -> Result<()>;

    /// Becomes a standby of the writer, by a copy of it.
    fn join(&self, node: &Node, writer: &Node) -> Result<()>;

    /// Ends in good order.
    fn stop(&self, node: &Node) -> Result<()>;

    /// Becomes the primary, after a restart or without one.
    fn promote(&self, node: &Node, restart: bool) -> Result<()>;

    /// Follows another writer; its connections stay.
    fn follow(&self, node: &Node, writer: &Node) -> Result<()>;

    /// A stopped, dead or running instance becomes a standby, after a restart.
    fn rejoin(&self, node: &Node, writer: &Node) -> Result<()>;

    /// The primary restarts as such.
    fn restart(&self, node: &Node) -> Result<()>;

    /// Dies at once, all its processes.
    fn kill(&self, node: &Node) -> Result<()>;

    /// Is killed, and leaves neither data nor address.
    fn remove(&self, node: &Node) -> Result<()>;

    /// Packets from and to its address are dropped.
    fn partition(&self, node: &Node) -> Result<()>;

    /// Undoes [`Databases::partition`].
    fn heal(&self, node: &Node) -> Result<()>;

    /// Is it a standby? `None`: it does not answer.
    fn standby(&self, node: &Node) -> Option<bool>;
}

/// No databases at all.
#[derive(Debug, Default)]
pub struct Paper;

impl Databases for Paper {
    fn found(&self, _: &Node) -> Result<()> {
        Ok(())
    }

    fn join(&self, _: &Node, _: &Node) -> Result<()> {
        Ok(())
    }

    fn stop(&self, _: &Node) -> Result<()> {
        Ok(())
    }

    fn promote(&self, _: &Node, _: bool) -> Result<()> {
        Ok(())
    }

    fn follow(&self, _: &Node, _: &Node) -> Result<()> {
        Ok(())
    }

    fn rejoin(&self, _: &Node, _: &Node) -> Result<()> {
        Ok(())
    }

    fn restart(&self, _: &Node) -> Result<()> {
        Ok(())
    }

    fn kill(&self, _: &Node) -> Result<()> {
        Ok(())
    }

    fn remove(&self, _: &Node) -> Result<()> {
        Ok(())
    }

    fn partition(&self, _: &Node) -> Result<()> {
        Ok(())
    }

    fn heal(&self, _: &Node) -> Result<()> {
        Ok(())
    }

    fn standby(&self, _: &Node) -> Option<bool> {
        None
    }
}
