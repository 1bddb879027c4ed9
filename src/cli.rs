//! Defines the flags of the operator and their environment variables, and checks their values.

mod parse;

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};

use crate::k8s::steering::{AllowedRanges, DEFAULT_ALLOWED_CIDRS};
pub use parse::{CommaList, DnsServers, SteeredServices, SteeredSlices};
use parse::{
    parse_identity, parse_name, parse_namespaces, parse_namespaces_or_all, parse_region,
    parse_roles, parse_servers, parse_steered_services, parse_steered_slices, parse_url,
};

/// Recycles connection pools when the topology of an Aurora cluster changes.
#[derive(Debug, Parser)]
#[command(name = "dbbalance", version, about, disable_help_subcommand = true)]
pub struct OperatorCli {
    /// The command to run.
    #[command(subcommand)]
    pub command: OperatorCommand,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum OperatorCommand {
    /// Run the operator.
    Run(Box<RunArgs>),
    #[allow(clippy::doc_markdown)] // a line of --help
    /// Print the CustomResourceDefinition as YAML.
    Crd,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// Human-readable text.
    Text,
    /// One JSON object a line.
    Json,
}

/// The options of the operator.
#[derive(Args, Clone, Debug)]
#[allow(clippy::doc_markdown)] // the docs become --help, where backticks are noise
pub struct RunArgs {
    /// AWS region of policies that do not set one.
    #[arg(long, env = "AWS_REGION", value_parser = parse_region)]
    pub aws_region: Option<String>,

    /// Endpoint of the RDS API, such as a VPC endpoint. Default: that of the region.
    #[arg(long, env = "AWS_ENDPOINT_URL_RDS", value_parser = parse_url, value_name = "URL")]
    pub rds_endpoint_url: Option<String>,

    /// Endpoint of the STS API, for policies with a role. Default: that of the region.
    #[arg(long, env = "AWS_ENDPOINT_URL_STS", value_parser = parse_url, value_name = "URL")]
    pub sts_endpoint_url: Option<String>,

    /// Roles that policies may use, comma separated. Empty: none.
    #[arg(
        long, env = "DBBALANCE_ALLOWED_ROLE_ARNS", default_value = "", hide_default_value = true,
        value_parser = parse_roles, value_name = "ARN,..."
    )]
    pub allowed_role_arns: CommaList,

    /// JSON file with the namespaces that may name each cluster and role. Default: every namespace may name all.
    #[arg(long, env = "DBBALANCE_CLUSTERS_FILE", value_name = "PATH")]
    pub clusters_file: Option<String>,

    /// Namespaces whose policies and pods are watched, comma separated. Empty: all.
    #[arg(
        long, env = "DBBALANCE_WATCH_NAMESPACES", default_value = "", hide_default_value = true,
        value_parser = parse_namespaces, value_name = "NAMESPACE,..."
    )]
    pub watch_namespaces: CommaList,

    /// Namespaces in which the operator may use pods/exec for method Signal, comma separated.
    /// "*": all. Empty: none.
    #[arg(
        long, env = "DBBALANCE_SIGNAL_NAMESPACES", default_value = "", hide_default_value = true,
        value_parser = parse_namespaces_or_all, value_name = "NAMESPACE,..."
    )]
    pub signal_namespaces: CommaList,

    /// Namespaces in which the operator may use pods/exec for evidence by ProcNet, comma separated.
    /// "*": all. Empty: only those for method Signal, which needs the same right.
    #[arg(
        long, env = "DBBALANCE_EVIDENCE_NAMESPACES", default_value = "", hide_default_value = true,
        value_parser = parse_namespaces_or_all, value_name = "NAMESPACE,..."
    )]
    pub evidence_namespaces: CommaList,

    /// Name of the Lease by which replicas elect their leader.
    #[arg(
        long, env = "DBBALANCE_LEASE_NAME", default_value = "dbbalance", value_parser = parse_name
    )]
    pub lease_name: String,

    /// Namespace of the Lease. Default: that of the service account or kubeconfig.
    #[arg(long, env = "POD_NAMESPACE", value_parser = parse_name)]
    pub lease_namespace: Option<String>,

    /// Unique name of this replica. Default: "local-" and the process ID.
    #[arg(long, env = "POD_NAME", value_parser = parse_identity)]
    pub identity: Option<String>,

    /// Time for which a renewal of the Lease is valid. A dead leader is replaced after this time.
    // Minimum: two requests and a pause must fit in. Maximum: no replica acts for so long after a crash.
    #[arg(
        long, env = "DBBALANCE_LEASE_DURATION_SECONDS", default_value_t = 15,
        value_parser = value_parser!(u64).range(5..=300), value_name = "SECONDS"
    )]
    pub lease_duration_seconds: u64,

    /// Time between renewals of the Lease; less than half of its duration.
    #[arg(
        long, env = "DBBALANCE_LEASE_RENEW_SECONDS", default_value_t = 2,
        value_parser = value_parser!(u64).range(1..=120), value_name = "SECONDS"
    )]
    pub lease_renew_seconds: u64,

    /// Address on which metrics and probes are served. [::] serves IPv4 and IPv6.
    #[arg(long, env = "DBBALANCE_LISTEN_ADDRESS", default_value = "[::]:8080")]
    pub listen_address: SocketAddr,

    /// Maximum of effects a second, over all policies.
    #[arg(
        long, env = "DBBALANCE_ACTIONS_PER_SECOND", default_value_t = 10,
        value_parser = value_parser!(u32).range(1..=1000)
    )]
    pub actions_per_second: u32,

    /// Maximum of effects at once after a pause, over all policies.
    #[arg(
        long, env = "DBBALANCE_ACTIONS_BURST", default_value_t = 20,
        value_parser = value_parser!(u32).range(1..=10_000)
    )]
    pub actions_burst: u32,

    /// Time between two readings of a stable topology.
    #[arg(
        long, env = "DBBALANCE_POLL_QUIET_SECONDS", default_value_t = 5,
        value_parser = value_parser!(u64).range(1..=300), value_name = "SECONDS"
    )]
    pub poll_quiet_seconds: u64,

    /// Time between two readings of a topology that is changing.
    #[arg(
        long, env = "DBBALANCE_POLL_MOVING_SECONDS", default_value_t = 1,
        value_parser = value_parser!(u64).range(1..=60), value_name = "SECONDS"
    )]
    pub poll_moving_seconds: u64,

    /// DNS servers that pods use, as IP or IP:port, comma separated. Empty: those of this pod's
    /// /etc/resolv.conf.
    #[arg(
        long, env = "DBBALANCE_DNS_SERVERS", default_value = "", hide_default_value = true,
        value_parser = parse_servers, value_name = "IP[:PORT],..."
    )]
    pub dns_servers: DnsServers,

    /// Maximum of DNS lookups a second, over all clusters.
    // Minimum: one cluster at the idle interval. Maximum: what the resolver of a VPC lets one host ask (1024/s).
    #[arg(
        long, env = "DBBALANCE_DNS_LOOKUPS_PER_SECOND", default_value_t = 50,
        value_parser = value_parser!(u32).range(5..=1000)
    )]
    pub dns_lookups_per_second: u32,

    /// Domain of the cluster's Services, by which a steered Service is looked up.
    #[arg(
        long, env = "DBBALANCE_CLUSTER_DOMAIN", default_value = "cluster.local", value_parser = parse_name,
        value_name = "DOMAIN"
    )]
    pub cluster_domain: String,

    /// ExternalName Services that policies may narrow by dns.steering, comma separated. Empty: none.
    #[arg(
        long, env = "DBBALANCE_STEERING_SERVICES", default_value = "", hide_default_value = true,
        value_parser = parse_steered_services, value_name = "NAMESPACE/NAME,..."
    )]
    pub steering_services: SteeredServices,

    /// EndpointSlices of the operator's namespace that policies may narrow by dns.steering, each with the reader endpoint
    /// that the cluster's DNS answers by it, comma separated. Empty: none.
    #[arg(
        long, env = "DBBALANCE_STEERING_SLICES", default_value = "", hide_default_value = true,
        value_parser = parse_steered_slices, value_name = "NAME=ENDPOINT,..."
    )]
    pub steering_slices: SteeredSlices,

    /// IPv4 ranges that an address in a steered EndpointSlice must be in, comma separated.
    #[arg(
        long, env = "DBBALANCE_STEERING_ALLOWED_CIDRS", default_value = DEFAULT_ALLOWED_CIDRS,
        value_parser = AllowedRanges::parse, value_name = "CIDR,..."
    )]
    pub steering_allowed_cidrs: AllowedRanges,

    /// Replicas of the operator. With one, no name is narrowed unless the policy allows it, because nobody could widen
    /// it while that one is away.
    #[arg(
        long, env = "DBBALANCE_REPLICAS", default_value_t = 1, value_parser = value_parser!(u32).range(0..=100)
    )]
    pub replicas: u32,

    /// Format of log lines.
    #[arg(long, env = "DBBALANCE_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,

    /// Log filter as tracing directives, such as info or info,dbbalance=debug.
    #[arg(long, env = "DBBALANCE_LOG", default_value = "info")]
    pub log_filter: String,
}

impl RunArgs {
    /// Checks the relations between flags.
    ///
    /// # Errors
    /// When two flags contradict each other. The message names both.
    pub fn check(&self) -> Result<(), String> {
        if self.lease_renew_seconds * 2 >= self.lease_duration_seconds {
            return Err(format!(
                "--lease-renew-seconds ({}) must be less than half of --lease-duration-seconds ({}), \
                 or one lost renewal would lose the lease",
                self.lease_renew_seconds, self.lease_duration_seconds
            ));
        }
        if self.poll_moving_seconds > self.poll_quiet_seconds {
            return Err(format!(
                "--poll-moving-seconds ({}) must not exceed --poll-quiet-seconds ({})",
                self.poll_moving_seconds, self.poll_quiet_seconds
            ));
        }
        Ok(())
    }

    /// Returns the name of this replica.
    #[must_use]
    pub fn identity(&self) -> String {
        self.identity
            .clone()
            .unwrap_or_else(|| format!("local-{}", std::process::id()))
    }

    /// Returns the time for which a renewal of the lease is valid.
    #[must_use]
    pub const fn lease_duration(&self) -> Duration {
        Duration::from_secs(self.lease_duration_seconds)
    }

    /// Returns the time between renewals of the lease.
    #[must_use]
    pub const fn lease_renew(&self) -> Duration {
        Duration::from_secs(self.lease_renew_seconds)
    }
}

#[cfg(test)]
mod tests;
