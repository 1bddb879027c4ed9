//! The command line: commands and options, each a call into the library.

mod aurora;
mod dns;

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand};
use dbbalance_testbed::cache::ToolCache;
use dbbalance_testbed::kubernetes::{DEFAULT_NAME, Testbed, TestbedOptions};
use dbbalance_testbed::rds::client::{CLASS, RdsClient};
use dbbalance_testbed::rds::{self, model::RdsCluster};
use dbbalance_testbed::{demo, image, interrupt, tools};

/// The testbed: a real single-node Kubernetes, images and an RDS API, on this machine and nowhere else.
#[derive(Debug, Parser)]
#[command(name = "testbed", version)]
pub struct Cli {
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Debug, Args)]
struct NameArgs {
    /// Name of the testbed.
    #[arg(global = true, long = "name", visible_alias = "testbed", value_name = "NAME", default_value = DEFAULT_NAME,
          env = "DBBALANCE_TESTBED_NAME")]
    name: String,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Build or install the programs at their pinned versions.
    Tools,
    /// Start a testbed, or repair one.
    Up {
        #[command(flatten)]
        testbed: NameArgs,
        /// Start no containerd and kubelet: objects, but no pods.
        #[arg(long)]
        control_plane_only: bool,
    },
    /// Delete a testbed and everything in it.
    Down {
        #[command(flatten)]
        testbed: NameArgs,
    },
    /// Show what is running; fails if something is dead.
    Status {
        #[command(flatten)]
        testbed: NameArgs,
    },
    /// Run a command, or a shell, inside the testbed's network with KUBECONFIG and PATH set.
    Shell {
        #[command(flatten)]
        testbed: NameArgs,
        /// The command and its arguments; a shell if there is none.
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Build images from files, and load them.
    Image {
        #[command(subcommand)]
        command: ImageCommand,
    },
    /// Run an Aurora: real PostgreSQL behind an RDS API and DNS.
    Aurora {
        #[command(flatten)]
        testbed: NameArgs,
        #[command(subcommand)]
        command: aurora::AuroraCommand,
    },
    /// Run the name server that pods use: `CoreDNS` in front of the testbed's Aurora.
    Dns {
        #[command(flatten)]
        testbed: NameArgs,
        #[command(subcommand)]
        command: dns::DnsCommand,
    },
    /// Run the demo: a cluster scales and fails over, and the pools of an app follow.
    Demo {
        /// Name of the demo's testbed.
        #[arg(long, default_value = demo::TESTBED)]
        name: String,
        /// The operator's program, built for release.
        #[arg(long, default_value = "target/release/dbbalance")]
        operator: PathBuf,
        /// Leave everything running at the end.
        #[arg(long, env = "KEEP", value_parser = clap::builder::FalseyValueParser::new())]
        keep: bool,
    },
    /// Run an RDS API (moto) in the testbed, and call it.
    Rds {
        #[command(flatten)]
        testbed: NameArgs,
        /// Region of the calls.
        #[arg(long, global = true, default_value = rds::REGION)]
        region: String,
        #[command(subcommand)]
        command: RdsCommand,
    },
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    /// Write an image archive.
    Build {
        #[command(subcommand)]
        what: ImageKind,
        /// The archive.
        #[arg(long, global = true, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Load an archive into a testbed.
    Load {
        /// The archive.
        file: PathBuf,
        #[command(flatten)]
        testbed: NameArgs,
    },
}

#[derive(Debug, Subcommand)]
enum ImageKind {
    /// localhost/pause:3
    Pause,
    /// localhost/busybox:1
    Busybox,
    /// localhost/dbbalance-testapp:1
    Testapp,
    /// localhost/dbbalance:TAG from a built program and its libraries.
    Operator {
        /// The program.
        program: PathBuf,
        /// The image's tag.
        #[arg(long, default_value = "dev")]
        tag: String,
    },
    /// localhost/dbbalance-NAME:1, an app with real pools: a folder of tests/testbed/apps with an app.json.
    #[command(external_subcommand)]
    App(Vec<String>),
}

#[derive(Debug, Subcommand)]
enum RdsCommand {
    /// Start moto at 198.18.0.1:5000.
    Up {
        /// Also start microburst in front of it, at 198.18.0.1:5001.
        #[arg(long)]
        faults: bool,
    },
    /// Stop both.
    Down,
    /// Create a cluster without members.
    CreateCluster {
        /// Its identifier.
        cluster: String,
        /// aurora-postgresql or aurora-mysql.
        #[arg(long, default_value = "aurora-postgresql")]
        engine: String,
    },
    /// Add an instance; the first becomes the writer.
    AddInstance {
        /// The cluster.
        cluster: String,
        /// The instance's identifier.
        instance: String,
        /// The instance's class.
        #[arg(long, default_value = CLASS)]
        class: String,
    },
    /// Delete an instance.
    DeleteInstance {
        /// The instance.
        instance: String,
    },
    /// Make another member the writer.
    Failover {
        /// The cluster.
        cluster: String,
        /// The new writer; chosen by the API by default.
        #[arg(long)]
        to: Option<String>,
    },
    /// Show a cluster and its members.
    Describe {
        /// The cluster.
        cluster: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show microburst's rules, or replace them (a JSON list; [] for none).
    Rules {
        /// The rules.
        rules: Option<String>,
    },
}

impl Cli {
    /// Executes the command.
    pub fn run(self) -> Result<ExitCode> {
        match self.command {
            CliCommand::Tools => tools::ensure_tools()?,
            CliCommand::Up {
                testbed,
                control_plane_only,
            } => {
                interrupt::catch_signals()?;
                let testbed = Testbed::up(&TestbedOptions {
                    name: testbed.name,
                    control_plane_only,
                })?;
                println!(
                    "testbed {} is up; open a shell in it with: testbed shell --name {0}",
                    testbed.name()
                );
            }
            CliCommand::Down { testbed } => {
                // An interrupted removal would leave half of it: it is short, and goes through.
                interrupt::catch_signals()?;
                Testbed::down(&testbed.name)?;
                println!("testbed {} deleted", testbed.name);
            }
            CliCommand::Status { testbed } => return show_status(&testbed.name),
            CliCommand::Shell { testbed, command } => return exec_shell(&testbed.name, &command),
            CliCommand::Demo {
                name,
                operator,
                keep,
            } => return run_demo(name, operator, keep),
            CliCommand::Image { command } => run_image(command)?,
            CliCommand::Aurora { testbed, command } => aurora::run_aurora(&testbed.name, command)?,
            CliCommand::Dns { testbed, command } => dns::run_dns(&testbed.name, command)?,
            CliCommand::Rds {
                testbed,
                region,
                command,
            } => run_rds(&testbed.name, &region, command)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Runs the demo; after a signal the exit code is the one that shells give to Ctrl-C.
fn run_demo(testbed: String, operator: PathBuf, keep: bool) -> Result<ExitCode> {
    interrupt::catch_signals()?;
    let result = demo::run_demo(&demo::DemoOptions {
        testbed,
        operator,
        keep,
    });
    result.map(|()| {
        if interrupt::is_interrupted() {
            ExitCode::from(130)
        } else {
            ExitCode::SUCCESS
        }
    })
}

fn show_status(name: &str) -> Result<ExitCode> {
    let Some(status) = Testbed::status(name)? else {
        println!("there is no testbed {name}");
        return Ok(ExitCode::FAILURE);
    };
    for (program, pid, alive) in &status.programs {
        println!(
            "{program:<26} {pid:>8}  {}",
            if *alive { "alive" } else { "DEAD" }
        );
    }
    println!(
        "API server {}",
        if status.api_ready {
            "ready"
        } else {
            "NOT ready"
        }
    );
    println!("KUBECONFIG={}", status.kubeconfig.display());
    println!("network {}", status.netns.display());
    if status.control_plane_only {
        println!("control plane only: no node");
    }
    let well = status.api_ready && status.programs.iter().all(|(_, _, alive)| *alive);
    Ok(if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Replaces this process by the command, so that exit code, signals and terminal are its own.
fn exec_shell(name: &str, command: &[String]) -> Result<ExitCode> {
    let testbed = Testbed::open(name)?;
    let (program, arguments) = match command.split_first() {
        Some((program, arguments)) => (program.clone(), arguments),
        None => (
            std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned()),
            command,
        ),
    };
    let error = testbed.command(&program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {program} in the testbed {name}"))
}

fn run_image(command: ImageCommand) -> Result<()> {
    match command {
        ImageCommand::Load { file, testbed } => {
            for name in Testbed::open(&testbed.name)?.load_image(&file)? {
                println!("{name}");
            }
        }
        ImageCommand::Build { what, out } => {
            let (app, out) = match &what {
                ImageKind::App(words) => app_and_out(words, out)?,
                _ => (String::new(), out),
            };
            let out = out.context("missing --out FILE: the path of the archive")?;
            if let ImageKind::Operator { program, tag } = &what {
                let size = image::build_operator_image(program, tag, &out)?;
                println!("{} {} bytes", out.display(), size);
                return Ok(());
            }
            let cache = ToolCache::locate()?;
            let built = match what {
                ImageKind::Pause => image::build_pause_image(&cache)?,
                ImageKind::Busybox => image::build_busybox_image(&cache)?,
                ImageKind::Testapp | ImageKind::Operator { .. } => {
                    image::build_testapp_image(&cache)?
                }
                ImageKind::App(_) => image::build_app_image(&cache, &app)?,
            };
            let size = std::fs::copy(&built.archive, &out)
                .with_context(|| format!("cannot write {}", out.display()))?;
            println!("{} {size} bytes", out.display());
        }
    }
    Ok(())
}

/// Parses `NAME [--out FILE]`: clap does not know the names of apps, and passes on what follows one.
fn app_and_out(words: &[String], out: Option<PathBuf>) -> Result<(String, Option<PathBuf>)> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [name] => Ok((name.to_owned(), out)),
        [name, "--out", file] => Ok((name.to_owned(), Some(file.into()))),
        _ => bail!(
            "invalid arguments: {}; expected NAME --out FILE",
            words.join(" ")
        ),
    }
}

fn run_rds(name: &str, region: &str, command: RdsCommand) -> Result<()> {
    let testbed = Testbed::open(name)?;
    let client = RdsClient::in_testbed(&testbed, region);
    match command {
        RdsCommand::Up { faults } => {
            rds::start_servers(&testbed, faults)?;
            println!(
                "RDS API at http://{}:{}",
                dbbalance_testbed::kubernetes::NODE_IP,
                rds::MOTO_PORT
            );
            if faults {
                println!(
                    "with faults at http://{}:{}",
                    dbbalance_testbed::kubernetes::NODE_IP,
                    rds::FAULTS_PORT
                );
            }
        }
        RdsCommand::Down => rds::stop_servers(&testbed)?,
        RdsCommand::CreateCluster { cluster, engine } => {
            client.create_cluster(&cluster, &engine)?;
            print_cluster(&client.describe_cluster(&cluster)?);
        }
        RdsCommand::AddInstance {
            cluster,
            instance,
            class,
        } => {
            client.add_instance(&cluster, &instance, &class)?;
            print_cluster(&client.describe_cluster(&cluster)?);
        }
        RdsCommand::DeleteInstance { instance } => {
            client.delete_instance(&instance)?;
            println!("{instance} deleted");
        }
        RdsCommand::Failover { cluster, to } => {
            print_cluster(&client.failover(&cluster, to.as_deref())?);
        }
        RdsCommand::Describe { cluster, json } => {
            let cluster = client.describe_cluster(&cluster)?;
            if json {
                let instances = client.describe_instances(&cluster.identifier)?;
                let both = serde_json::json!({"cluster": cluster, "instances": instances});
                println!("{}", serde_json::to_string_pretty(&both)?);
            } else {
                print_cluster(&cluster);
            }
        }
        RdsCommand::Rules { rules } => {
            let control = rds::fault_control(&testbed);
            if let Some(rules) = rules {
                control
                    .set_rules(&serde_json::from_str(&rules).context("the rules are not JSON")?)?;
            }
            println!("{}", serde_json::to_string_pretty(&control.rules()?)?);
        }
    }
    Ok(())
}

fn print_cluster(cluster: &RdsCluster) {
    println!(
        "{}  {}  {}",
        cluster.identifier, cluster.status, cluster.engine
    );
    println!("  writer endpoint {}", cluster.endpoint);
    println!("  reader endpoint {}", cluster.reader_endpoint);
    for member in &cluster.members {
        println!(
            "  {:<24} {}",
            member.instance,
            if member.writer { "writer" } else { "reader" }
        );
    }
}
