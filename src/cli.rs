//! Defines the flags of the operator and their environment variables, and checks their values.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};

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

    /// Format of log lines.
    #[arg(long, env = "DBBALANCE_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,

    /// Log filter as tracing directives, such as info or info,dbbalance=debug.
    #[arg(long, env = "DBBALANCE_LOG", default_value = "info")]
    pub log_filter: String,
}

/// A comma-separated list, without empty items.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommaList(pub Vec<String>);

/// DNS servers, in the order in which they are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsServers(pub Vec<SocketAddr>);

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

fn split_items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

fn parse_list(text: &str, check: fn(&str) -> Result<String, String>) -> Result<CommaList, String> {
    split_items(text)
        .map(check)
        .collect::<Result<_, _>>()
        .map(CommaList)
}

fn parse_servers(text: &str) -> Result<DnsServers, String> {
    let server = |item: &str| {
        let plain = item.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
        plain.or_else(|_| item.parse()).map_err(|_| {
            format!("invalid DNS server {item:?} (examples: 10.96.0.10, 10.96.0.10:53)")
        })
    };
    split_items(text)
        .map(server)
        .collect::<Result<_, _>>()
        .map(DnsServers)
}

fn parse_namespaces(text: &str) -> Result<CommaList, String> {
    parse_list(text, parse_label)
}

fn parse_namespaces_or_all(text: &str) -> Result<CommaList, String> {
    parse_list(text, |item| {
        if item == "*" {
            Ok(item.to_owned())
        } else {
            parse_label(item)
        }
    })
}

fn parse_roles(text: &str) -> Result<CommaList, String> {
    parse_list(text, |item| {
        if item.starts_with("arn:") && item.contains(":iam::") && item.contains(":role/") {
            Ok(item.to_owned())
        } else {
            Err(format!(
                "invalid role ARN {item:?} (example: arn:aws:iam::123456789012:role/dbbalance)"
            ))
        }
    })
}

/// A DNS label (RFC 1123), as namespaces are.
fn parse_label(text: &str) -> Result<String, String> {
    if text.len() <= 63 && !text.contains('.') && is_dns_name(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("invalid namespace {text:?}"))
    }
}

/// A DNS subdomain (RFC 1123), as names of objects are.
fn parse_name(text: &str) -> Result<String, String> {
    if text.len() <= 253 && is_dns_name(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("invalid object name {text:?}"))
    }
}

fn is_dns_name(text: &str) -> bool {
    text.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    })
}

/// Accepts printable text that fits into an event's `reportingInstance`.
fn parse_identity(text: &str) -> Result<String, String> {
    if !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("must have 1 to 128 printable characters and no spaces".to_owned())
    }
}

fn parse_region(text: &str) -> Result<String, String> {
    if (1..=32).contains(&text.len()) && !text.contains('.') && is_dns_name(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("invalid AWS region {text:?} (example: eu-west-1)"))
    }
}

fn parse_url(text: &str) -> Result<String, String> {
    let uri: http::Uri = text.parse().map_err(|e| format!("not a URL: {e}"))?;
    if matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() {
        Ok(text.to_owned())
    } else {
        Err("must be an http or https URL".to_owned())
    }
}

#[cfg(test)]
mod tests;
