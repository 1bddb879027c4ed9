//! Keys, certificates and kubeconfigs of a testbed, made by openssl.
//!
//! Valid for ten years, so that no clock of a test matters, and deleted with the testbed.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::layout::{API_PORT, API_SERVICE_IP, Layout, NODE, NODE_IP};
use crate::program;

/// `CoreDNS`'s user: it has no rights but those that `aurora::coredns` grants it.
pub const COREDNS_USER: &str = "coredns";
/// Longer than any testbed lives.
const DAYS: &str = "3650";

struct LeafCertificate {
    file: &'static str,
    authority: &'static str,
    subject: String,
    usage: &'static str,
    names: String,
}

fn leaf_certificate(
    file: &'static str,
    subject: &str,
    usage: &'static str,
    names: String,
) -> LeafCertificate {
    LeafCertificate {
        file,
        authority: "ca",
        subject: subject.to_owned(),
        usage,
        names,
    }
}

fn leaf_certificates() -> Vec<LeafCertificate> {
    let apiserver = format!(
        "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,\
         DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:{NODE_IP},IP:{API_SERVICE_IP}"
    );
    let none = String::new;
    vec![
        leaf_certificate("apiserver", "/CN=kube-apiserver", "serverAuth", apiserver),
        leaf_certificate(
            "kubelet-client",
            "/O=system:masters/CN=kube-apiserver-kubelet-client",
            "clientAuth",
            none(),
        ),
        leaf_certificate("admin", "/O=system:masters/CN=admin", "clientAuth", none()),
        leaf_certificate(
            "kcm",
            "/CN=system:kube-controller-manager",
            "clientAuth",
            none(),
        ),
        leaf_certificate(
            "scheduler",
            "/CN=system:kube-scheduler",
            "clientAuth",
            none(),
        ),
        leaf_certificate(
            COREDNS_USER,
            &format!("/CN={COREDNS_USER}"),
            "clientAuth",
            none(),
        ),
        leaf_certificate(
            "node",
            &format!("/O=system:nodes/CN=system:node:{NODE}"),
            "clientAuth",
            none(),
        ),
        leaf_certificate(
            "kubelet",
            &format!("/CN={NODE}"),
            "serverAuth",
            format!("DNS:{NODE},IP:{NODE_IP},IP:127.0.0.1"),
        ),
        LeafCertificate {
            authority: "front-ca",
            ..leaf_certificate(
                "front-client",
                "/CN=front-proxy-client",
                "clientAuth",
                none(),
            )
        },
    ]
}

struct CertificateAuthority {
    folder: PathBuf,
    mark: (&'static str, String),
}

impl CertificateAuthority {
    fn openssl(&self, line: &str) -> Result<()> {
        let mut command = Command::new("openssl");
        command
            .current_dir(&self.folder)
            .env(self.mark.0, &self.mark.1)
            .args(line.split(' '));
        program::run_output(&mut command).map(drop)
    }

    fn key(&self, name: &str) -> Result<()> {
        self.openssl(&format!(
            "ecparam -name prime256v1 -genkey -noout -out {name}.key"
        ))
    }

    fn authority(&self, name: &str) -> Result<()> {
        self.key(name)?;
        self.openssl(&format!(
            "req -x509 -new -key {name}.key -subj /CN={name} -days {DAYS} -out {name}.crt \
             -addext keyUsage=critical,keyCertSign,digitalSignature"
        ))
    }

    fn leaf(&self, leaf: &LeafCertificate) -> Result<()> {
        let LeafCertificate {
            file,
            authority,
            subject,
            usage,
            names,
        } = leaf;
        self.key(file)?;
        self.openssl(&format!(
            "req -new -key {file}.key -subj {subject} -out {file}.csr"
        ))?;
        let mut extensions =
            format!("extendedKeyUsage={usage}\nkeyUsage=critical,digitalSignature\n");
        if !names.is_empty() {
            extensions = extensions + "subjectAltName=" + names + "\n";
        }
        let path = self.folder.join(format!("{file}.ext"));
        fs::write(&path, extensions).with_context(|| format!("cannot write {}", path.display()))?;
        // A serial number of its own each, random by default, so that they can be made side by side.
        self.openssl(&format!(
            "x509 -req -in {file}.csr -CA {authority}.crt -CAkey {authority}.key -days {DAYS} -extfile {file}.ext -out {file}.crt"
        ))
    }
}

fn write_kubeconfig(layout: &Layout, user: &str) -> Result<()> {
    let file = |name: String| layout.pki(&name).to_string_lossy().into_owned();
    // JSON is YAML.
    let text = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "testbed",
        "clusters": [{"name": "testbed", "cluster": {
            "server": format!("https://127.0.0.1:{API_PORT}"), "certificate-authority": file("ca.crt".into())}}],
        "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": user}}],
        "users": [{"name": user, "user": {
            "client-certificate": file(format!("{user}.crt")), "client-key": file(format!("{user}.key"))}}],
    });
    let path = layout.kubeconfig(user);
    fs::write(&path, serde_json::to_vec_pretty(&text)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Makes all of it, unless an earlier call came to its end.
pub fn create_certificates(layout: &Layout) -> Result<()> {
    let complete = layout.pki("complete");
    if complete.is_file() {
        return Ok(());
    }
    let maker = CertificateAuthority {
        folder: layout.path("pki"),
        mark: layout.mark(),
    };
    fs::create_dir_all(&maker.folder)
        .with_context(|| format!("cannot make {}", maker.folder.display()))?;
    maker.authority("ca")?;
    maker.authority("front-ca")?;
    for one in leaf_certificates() {
        maker
            .leaf(&one)
            .with_context(|| format!("cannot make the certificate {}", one.file))?;
    }
    // Service account tokens: an EC key signs faster than RSA and takes no time to make.
    maker.key("sa")?;
    maker.openssl("ec -in sa.key -pubout -out sa.pub")?;
    for user in ["admin", "kcm", "scheduler", "node", COREDNS_USER] {
        write_kubeconfig(layout, user)?;
    }
    fs::write(&complete, "").with_context(|| format!("cannot write {}", complete.display()))
}
