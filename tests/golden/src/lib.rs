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
        let home = resolve(version, artefacts)?;
        let java = Self {
            version: version.to_owned(),
            jars: home.join("jars"),
            classes: home.join(format!("classes-{stem}")),
        };
        fs::create_dir_all(&java.classes)?;
        run(Command::new("javac")
            .args(["-nowarn", "-d"])
            .arg(&java.classes)
            .arg("-cp")
            .arg(java.jars.join("*"))
            .arg(source))?;
        Ok(java)
    }

    /// Name server and broker of `version`, started with [`Java::server`].
    pub fn prepare_server(version: &str) -> Result<Self> {
        let home = resolve(version, &["rocketmq-namesrv", "rocketmq-broker"])?;
        Ok(Self { version: version.to_owned(), jars: home.join("jars"), classes: home })
    }

    /// The version of the artefacts.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A command that runs `class` of the driver with little memory and a quick start; arguments follow.
    pub fn command(&self, class: &str) -> Command {
        self.java(&["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"], class)
    }

    /// A command that runs a genuine server at full speed; arguments follow.
    pub fn server(&self, class: &str, heap: &str) -> Command {
        self.java(&[&format!("-Xmx{heap}"), "-XX:+UseG1GC"], class)
    }

    fn java(&self, options: &[&str], class: &str) -> Command {
        let mut command = Command::new("java");
        command
            .args(options)
            .args(OPEN)
            .arg(format!("-Duser.home={}", self.classes.display()))
            .arg("-Drocketmq.client.logUseSlf4j=false")
            .arg("-cp")
            .arg(format!("{}:{}/*", self.classes.display(), self.jars.display()))
            .arg(class);
        command
    }
}

/// What 4.9.x and 5.x reach into on JDK 17.
const OPEN: [&str; 7] = [
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
];

/// The folder of a version's jars, resolved with Maven once per target folder.
fn resolve(version: &str, artefacts: &[&str]) -> Result<PathBuf> {
    let home = workspace().join("target/java").join(format!("{version}-{}", artefacts.join("-")));
    if home.join("resolved").exists() {
        return Ok(home);
    }
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
        .arg(format!("-DoutputDirectory={}", home.join("jars").display()))
        .arg("-f")
        .arg(&pom))?;
    fs::write(home.join("resolved"), "")?;
    Ok(home)
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
