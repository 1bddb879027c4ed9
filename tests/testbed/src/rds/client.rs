//! A small client of the RDS Query API, for setting up and inspecting clusters.
//!
//! It is not an AWS client: the signature is a dummy that emulators accept, and it has only the calls of the demo and
//! the tests. The operator's own calls go through the AWS SDK and must not use this.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};

use super::model::{RdsCluster, RdsInstance};
use super::xml::XmlElement;
use super::{MOTO_PORT, REGION};
use crate::kubernetes::{Layout, NODE_IP, Testbed, network};

/// The API's version, part of every call.
const VERSION: &str = "2014-10-31";
/// The first RDS call makes moto load its models: a second alone, more on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(20);
/// An instance class small enough to be plausible, with a known `max_connections`.
pub const CLASS: &str = "db.r6g.large";

/// Plain HTTP, possibly from inside a testbed's network.
#[derive(Debug, Clone)]
pub(crate) struct HttpClient {
    base: String,
    inside: Option<Layout>,
    timeout: Duration,
}

impl HttpClient {
    pub(crate) fn new(base: &str, inside: Option<Layout>) -> Self {
        Self {
            base: base.trim_end_matches('/').to_owned(),
            inside,
            timeout: TIMEOUT,
        }
    }

    /// Waits longer for an answer.
    pub(crate) fn patient(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sends a body; gives status and answer.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<(u16, String)> {
        let url = format!("{}{path}", self.base);
        let call = || -> Result<(u16, String)> {
            let agent: ureq::Agent = ureq::Agent::config_builder()
                .timeout_global(Some(self.timeout))
                .http_status_as_error(false)
                // The machine's proxy does not know the testbed.
                .proxy(None)
                .build()
                .into();
            let mut request = ureq::http::Request::builder().method(method).uri(&url);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let mut answer = agent.run(request.body(body.to_owned())?)?;
            Ok((
                answer.status().as_u16(),
                answer.body_mut().read_to_string()?,
            ))
        };
        match &self.inside {
            Some(layout) => network::run_in_network(layout, call)?,
            None => call(),
        }
        .with_context(|| format!("{method} {url} failed"))
    }
}

/// Speaks to an RDS API.
#[derive(Debug, Clone)]
pub struct RdsClient {
    http: HttpClient,
    region: String,
    key: String,
}

impl RdsClient {
    /// At this address, such as `http://127.0.0.1:5000`.
    #[must_use]
    pub fn new(endpoint: &str, region: &str) -> Self {
        Self {
            http: HttpClient::new(endpoint, None),
            region: region.to_owned(),
            key: "testbed".to_owned(),
        }
    }

    /// moto of a testbed.
    #[must_use]
    pub fn in_testbed(testbed: &Testbed, region: &str) -> Self {
        Self::inside(testbed, &format!("http://{NODE_IP}:{MOTO_PORT}"), region)
    }

    /// At this address inside a testbed.
    #[must_use]
    pub fn inside(testbed: &Testbed, endpoint: &str, region: &str) -> Self {
        Self {
            http: HttpClient::new(endpoint, Some(testbed.layout().clone())),
            ..Self::new("", region)
        }
    }

    /// moto takes the account from the access key.
    #[must_use]
    pub fn access_key(mut self, key: &str) -> Self {
        key.clone_into(&mut self.key);
        self
    }

    /// Any call, with its parameters; an error answer is an error with AWS's code and message.
    pub fn call(&self, action: &str, parameters: &[(&str, &str)]) -> Result<XmlElement> {
        let mut body = format!("Action={action}&Version={VERSION}");
        for (name, value) in parameters {
            body = body + "&" + name + "=" + &url_encode(value);
        }
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/20260101/{}/rds/aws4_request, SignedHeaders=host, Signature=0",
            self.key, self.region
        );
        let headers = [
            ("Authorization", authorization.as_str()),
            (
                "Content-Type",
                "application/x-www-form-urlencoded; charset=utf-8",
            ),
        ];
        let (status, text) = self.http.send("POST", "/", &headers, &body)?;
        let root =
            XmlElement::parse(&text).with_context(|| format!("{action} answered {status}"))?;
        if status != 200 {
            let said = |name: &str| {
                root.find(name)
                    .map(|element| element.value.clone())
                    .unwrap_or_default()
            };
            bail!(
                "{action} was refused with {status} {}: {}",
                said("Code"),
                said("Message")
            );
        }
        Ok(root)
    }

    /// Makes a cluster without members.
    pub fn create_cluster(&self, identifier: &str, engine: &str) -> Result<RdsCluster> {
        let reply = self.call(
            "CreateDBCluster",
            &[
                ("DBClusterIdentifier", identifier),
                ("Engine", engine),
                ("MasterUsername", "testbed"),
                ("MasterUserPassword", "testbedpassword"),
            ],
        )?;
        RdsCluster::read(find_element(&reply, "DBCluster")?)
    }

    /// Adds an instance to a cluster: the first becomes its writer.
    pub fn add_instance(
        &self,
        cluster: &str,
        identifier: &str,
        class: &str,
    ) -> Result<RdsInstance> {
        let engine = self.describe_cluster(cluster)?.engine;
        let reply = self.call(
            "CreateDBInstance",
            &[
                ("DBInstanceIdentifier", identifier),
                ("DBClusterIdentifier", cluster),
                ("DBInstanceClass", class),
                ("Engine", &engine),
            ],
        )?;
        RdsInstance::read(find_element(&reply, "DBInstance")?)
    }

    /// Deletes an instance.
    pub fn delete_instance(&self, identifier: &str) -> Result<()> {
        self.call(
            "DeleteDBInstance",
            &[
                ("DBInstanceIdentifier", identifier),
                ("SkipFinalSnapshot", "true"),
            ],
        )?;
        Ok(())
    }

    /// Fails a cluster over, to a given member or to one of the API's choice. The target must be a member: moto
    /// would accept another and leave two writers.
    pub fn failover(&self, cluster: &str, to: Option<&str>) -> Result<RdsCluster> {
        let mut parameters = vec![("DBClusterIdentifier", cluster)];
        if let Some(target) = to {
            let members = self.describe_cluster(cluster)?.members;
            if !members.iter().any(|member| member.instance == target) {
                bail!("{target} is not a member of the cluster {cluster}");
            }
            parameters.push(("TargetDBInstanceIdentifier", target));
        }
        self.call("FailoverDBCluster", &parameters)?;
        self.describe_cluster(cluster)
    }

    /// One cluster.
    pub fn describe_cluster(&self, identifier: &str) -> Result<RdsCluster> {
        let reply = self.call("DescribeDBClusters", &[("DBClusterIdentifier", identifier)])?;
        read_clusters(&reply)?
            .pop()
            .ok_or_else(|| anyhow!("the reply holds no cluster {identifier}"))
    }

    /// All clusters.
    pub fn describe_clusters(&self) -> Result<Vec<RdsCluster>> {
        read_clusters(&self.call("DescribeDBClusters", &[])?)
    }

    /// The instances of a cluster.
    pub fn describe_instances(&self, cluster: &str) -> Result<Vec<RdsInstance>> {
        let parameters = [
            ("Filters.Filter.1.Name", "db-cluster-id"),
            ("Filters.Filter.1.Values.Value.1", cluster),
        ];
        let reply = self.call("DescribeDBInstances", &parameters)?;
        find_element(&reply, "DBInstances")?
            .children
            .iter()
            .map(RdsInstance::read)
            .collect()
    }
}

impl Default for RdsClient {
    /// moto at its own default address.
    fn default() -> Self {
        Self::new(&format!("http://127.0.0.1:{MOTO_PORT}"), REGION)
    }
}

fn read_clusters(reply: &XmlElement) -> Result<Vec<RdsCluster>> {
    find_element(reply, "DBClusters")?
        .children
        .iter()
        .map(RdsCluster::read)
        .collect()
}

fn find_element<'a>(reply: &'a XmlElement, name: &str) -> Result<&'a XmlElement> {
    reply
        .find(name)
        .ok_or_else(|| anyhow!("the reply {} holds no {name}", reply.name))
}

/// Form encoding: all but letters, digits and four others as %XX.
fn url_encode(value: &str) -> String {
    value.bytes().fold(String::new(), |text, byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            text + &char::from(byte).to_string()
        }
        _ => text + &format!("%{byte:02X}"),
    })
}

#[cfg(test)]
mod tests {
    use super::url_encode;

    #[test]
    fn forms_are_encoded() {
        assert_eq!(url_encode("arn:aws:rds a&b"), "arn%3Aaws%3Ards%20a%26b");
    }
}
