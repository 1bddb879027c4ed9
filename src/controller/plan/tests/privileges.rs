//! Privileges: what a failover and a token may skip, and what not.
