//! Builds the source for a role and a region: client, credentials, timeouts and rate limit.
//!
//! Only allowed roles are assumed. Credentials come from AWS's default chain and stay inside the SDK: they are not read,
//! logged or stored here.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_rds::config::Builder;

use super::access::{RoleAllowList, SourceKey};
use super::account_buckets::AccountBuckets;
use super::error::SourceError;
use super::rds::RdsSource;
use super::source::{ClusterSource, SourceFactory};

/// How long to wait for a connection: the SDK's own default is 3.1 s.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long to wait for one answer. The SDK waits forever by default; RDS answers within a second.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one request may take in total, including fetching credentials.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(8);

/// The session name of an assumed role in `CloudTrail`.
const SESSION_NAME: &str = "dbbalance";

/// What may differ from AWS's defaults.
#[derive(Clone, Debug, Default)]
pub struct RdsOptions {
    /// The URL of another RDS endpoint, such as a VPC endpoint or an emulator.
    pub rds_endpoint: Option<String>,
    /// The URL of another STS endpoint.
    pub sts_endpoint: Option<String>,
    /// The operator's own credentials, if not from the default chain.
    pub credentials: Option<SharedCredentialsProvider>,
}

/// Builds [`RdsSource`]s.
#[derive(Debug)]
pub struct RdsFactory {
    options: RdsOptions,
    allowed: RoleAllowList,
    /// Kept here, so that a rebuilt source keeps its bucket.
    buckets: Arc<AccountBuckets>,
}

impl RdsFactory {
    /// Returns a factory that assumes only the allowed roles.
    #[must_use]
    pub fn new(options: RdsOptions, allowed: RoleAllowList) -> Self {
        Self {
            options,
            allowed,
            buckets: Arc::default(),
        }
    }

    /// Returns the configuration of the operator's own identity in this region.
    async fn own_config(&self, region: &str) -> SdkConfig {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .operation_timeout(OPERATION_TIMEOUT)
            .build();
        let loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .timeout_config(timeouts);
        match &self.options.credentials {
            Some(provider) => loader.credentials_provider(provider.clone()).load().await,
            None => loader.load().await,
        }
    }
}

#[async_trait]
impl SourceFactory for RdsFactory {
    async fn make_source(&self, key: &SourceKey) -> Result<Arc<dyn ClusterSource>, SourceError> {
        self.allowed.check(key)?;
        let mut config = self.own_config(&key.region).await;
        if let Some(role) = &key.role {
            let sts = match &self.options.sts_endpoint {
                Some(url) => config.clone().into_builder().endpoint_url(url).build(),
                None => config.clone(),
            };
            let mut assume = AssumeRoleProvider::builder(&role.arn)
                .session_name(SESSION_NAME)
                .region(Region::new(key.region.clone()))
                .configure(&sts);
            if let Some(id) = &role.external_id {
                assume = assume.external_id(id);
            }
            let provider = SharedCredentialsProvider::new(assume.build().await);
            config = config.into_builder().credentials_provider(provider).build();
        }
        let mut rds = Builder::from(&config);
        if let Some(url) = &self.options.rds_endpoint {
            rds = rds.endpoint_url(url);
        }
        let bucket = self.buckets.bucket_for(key);
        let source = RdsSource::new(rds, bucket).with_accounts(Arc::clone(&self.buckets), key);
        Ok(Arc::new(source))
    }
}
