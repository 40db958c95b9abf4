//! Real Java classes for tests: resolves a version of the RocketMQ artefacts, compiles a driver against it, runs it.
//!
//! `cargo run -p golden` makes the files in `data/` again; the tests of this package hold our codecs against them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

/// Versions whose client artefacts the tests use.
pub const VERSIONS: [&str; 3] = ["4.9.8", "5.3.3", "5.5.0"];

/// A folder of jars of one version, with a driver compiled against them.
#[derive(Clone, Debug)]
pub struct Java {
    version: String,
    jars: PathBuf,
    classes: PathBuf,
}

impl Java {
    /// Resolves `artefacts` of `version` with Maven (once per target folder) and compiles `source` against them.
    pub fn prepare(version: &str, artefacts: &[&str], source: &Path) -> Result<Self> {
        let stem = source.file_stem().and_then(|s| s.to_str()).context("a Java source has a name")?;
        let home = workspace().join("target/java").join(format!("{version}-{}", artefacts.join("-")));
        let java = Self {
            version: version.to_owned(),
            jars: home.join("jars"),
            classes: home.join(format!("classes-{stem}")),
        };
        if !home.join("resolved").exists() {
            fs::create_dir_all(&home)?;
            let dependencies: String = artefacts
                .iter()
                .map(|a| {
                    format!(
                        "<dependency><groupId>org.apache.rocketmq</groupId><artifactId>{a}</artifactId>\
                         <version>{version}</version></dependency>"
                    )
                })
                .collect();
            let pom = home.join("pom.xml");
            fs::write(
                &pom,
                format!(
                    "<project><modelVersion>4.0.0</modelVersion><groupId>reprise.tests</groupId>\
                     <artifactId>java</artifactId><version>1</version><dependencies>{dependencies}</dependencies></project>"
                ),
            )?;
            run(Command::new("mvn")
                .args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"])
                .arg(format!("-DoutputDirectory={}", java.jars.display()))
                .arg("-f")
                .arg(&pom))?;
            fs::write(home.join("resolved"), "")?;
        }
        fs::create_dir_all(&java.classes)?;
        run(Command::new("javac")
            .args(["-nowarn", "-d"])
            .arg(&java.classes)
            .arg("-cp")
            .arg(java.jars.join("*"))
            .arg(source))?;
        Ok(java)
    }

    /// The version of the artefacts.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A command that runs `class` of the driver; arguments follow.
    pub fn command(&self, class: &str) -> Command {
        let mut command = Command::new("java");
        command
            .args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .args([
                "--add-opens=java.base/java.nio=ALL-UNNAMED",
                "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
            ])
            .arg(format!("-Duser.home={}", self.classes.display()))
            .arg("-Drocketmq.client.logUseSlf4j=false")
            .arg("-cp")
            .arg(format!("{}:{}/*", self.classes.display(), self.jars.display()))
            .arg(class);
        command
    }
}

/// Runs a command to its end; an error carries what it printed.
pub fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| {
        format!(
            "{program} cannot be started: install a JDK (17 or newer) and Maven, or run `cargo suite tools`"
        )
    })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("{program} ended with {}:\n{text}\n{error}", output.status);
    }
    Ok(text)
}

/// The project's folder.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").components().collect()
}
