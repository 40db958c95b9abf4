//! What can be said on the command line: RocketMQ's own flags and a few more.

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

/// A RocketMQ-compatible messaging system.
#[derive(Debug, Parser)]
#[command(name = "reprise", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) program: Program,
}

/// Which program to run.
#[derive(Debug, Subcommand)]
pub(crate) enum Program {
    /// Run a name server: which broker serves which topic
    #[command(alias = "mqnamesrv")]
    Namesrv(Namesrv),
    /// Run a broker: stores messages and hands them out
    #[command(alias = "mqbroker")]
    Broker(Broker),
    /// Run a name server and a broker in one process, with small files: for development and tests
    Dev(Dev),
    /// Ask a running cluster
    Admin(Admin),
}

/// Flags of the name server.
#[derive(Debug, Args)]
#[command(version)]
pub(crate) struct Namesrv {
    /// RocketMQ's scripts may give it to both servers; a name server has no use for it.
    #[arg(short = 'n', long = "namesrvAddr", hide = true)]
    _namesrv_addr: Option<String>,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Flags of the broker.
#[derive(Debug, Args)]
#[command(version)]
pub(crate) struct Broker {
    /// Name servers to register with: host:port, separated by semicolons [environment: NAMESRV_ADDR]
    #[arg(short = 'n', long = "namesrvAddr", value_name = "ADDRESSES")]
    pub(crate) namesrv_addr: Option<String>,
    /// Folder of the store, same as --set storePathRootDir=DIR
    #[arg(long, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Flags of the development server.
#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// Folder for messages and tables; kept at the end. Without it, a temporary one that is removed
    #[arg(long, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
    /// Port of the name server
    #[arg(long, value_name = "PORT", default_value_t = 9876)]
    pub(crate) namesrv_port: u16,
    /// Port of the broker
    #[arg(long, value_name = "PORT", default_value_t = 10911)]
    pub(crate) broker_port: u16,
    /// Address that clients are told to connect to
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub(crate) ip: std::net::IpAddr,
    /// Set a key of the broker's configuration; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    #[command(flatten)]
    pub(crate) log: Log,
}

/// What an operator asks.
#[derive(Debug, Args)]
pub(crate) struct Admin {
    #[command(subcommand)]
    pub(crate) command: AdminCommand,
}

/// The questions.
#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// Tell in words where a message is, what happens to it next, and when
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(Explain),
}

/// Which message to explain.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("message").required(true).args(["id", "unique_key", "key"])))]
pub(crate) struct Explain {
    /// Name servers: host:port, separated by semicolons [environment: NAMESRV_ADDR]
    #[arg(short = 'n', long = "namesrvAddr", value_name = "ADDRESSES")]
    pub(crate) namesrv_addr: Option<String>,
    /// Offset message id, 32 hex digits: it names a broker and a place in its log
    #[arg(long, value_name = "ID", conflicts_with = "topic")]
    pub(crate) id: Option<String>,
    /// Topic that the message was sent to
    #[arg(short = 't', long, value_name = "TOPIC")]
    pub(crate) topic: Option<String>,
    /// Unique key, the msgId that a producer is told
    #[arg(short = 'u', long, value_name = "KEY", requires = "topic")]
    pub(crate) unique_key: Option<String>,
    /// One of the keys that the program gave the message
    #[arg(short = 'k', long, value_name = "KEY", requires = "topic")]
    pub(crate) key: Option<String>,
}

/// Flags of both servers.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Configuration file, a Java properties file with RocketMQ's keys
    #[arg(short = 'c', long = "configFile", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Set a key of the configuration; wins over the file; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Print all keys with their values and where they come from, and exit
    #[arg(short = 'p', long = "printConfigItem")]
    pub(crate) print: bool,
    /// Print the important keys, and exit
    #[arg(short = 'm', long = "printImportantConfig")]
    pub(crate) print_important: bool,
    /// Check the configuration, and exit
    #[arg(long)]
    pub(crate) config_check: bool,
    /// Warn about unknown keys and malformed values instead of refusing to start
    #[arg(long)]
    pub(crate) lenient_config: bool,
    /// Threads that serve connections; as many as processors if not given
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    #[command(flatten)]
    pub(crate) log: Log,
}

/// How the program logs, and where to.
#[derive(Clone, Debug, Args)]
pub(crate) struct Log {
    /// Form of the log lines
    #[arg(long, value_name = "FORM", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// What is logged, such as `info`, `debug` or `info,net=debug` [environment: REPRISE_LOG]
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// Append the log to this file instead of standard error; one that is moved away is made anew
    #[arg(long, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
}

/// Form of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Reads the command line; a program called `mqnamesrv` or `mqbroker` needs no subcommand.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(expand(words.into_iter().collect()))
}

fn expand(mut words: Vec<OsString>) -> Vec<OsString> {
    let program = words.first().map(PathBuf::from).unwrap_or_default();
    let name = program.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    let subcommand = match name {
        "mqnamesrv" => "namesrv",
        "mqbroker" => "broker",
        _ => return words,
    };
    words.insert(1, subcommand.into());
    words
}

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  reprise admin explain -n 127.0.0.1:9876 --id 7F00000100002A9F0000000000001000
  reprise admin explain -n 127.0.0.1:9876 --topic orders --unique-key 7F0000010A2B18B4AAC21A0B5D3C0000
  reprise admin explain -n 127.0.0.1:9876 --topic orders --key order-4711";

#[cfg(test)]
mod tests {
    use super::*;

    fn help(words: &[&str]) -> String {
        parse(words.iter().map(OsString::from)).expect_err("help is no command").to_string()
    }

    #[test]
    fn the_help_says_what_there_is() {
        insta::assert_snapshot!("help", help(&["reprise", "--help"]));
        insta::assert_snapshot!("help_broker", help(&["reprise", "broker", "-h"]));
        insta::assert_snapshot!("help_namesrv", help(&["reprise", "namesrv", "-h"]));
        insta::assert_snapshot!("help_dev", help(&["reprise", "dev", "-h"]));
        insta::assert_snapshot!("help_explain", help(&["reprise", "admin", "explain", "-h"]));
    }

    #[test]
    fn java_names_and_flags_work() {
        let words = ["/opt/bin/mqbroker", "-n", "a:1;b:2", "-c", "broker.conf", "-p"];
        let Program::Broker(broker) = parse(words.map(OsString::from)).expect("a broker").program else {
            panic!("not a broker")
        };
        assert_eq!(broker.namesrv_addr.as_deref(), Some("a:1;b:2"));
        assert_eq!(broker.common.config, Some("broker.conf".into()));
        assert!(broker.common.print && !broker.common.print_important);
        let words = ["mqnamesrv", "-n", "localhost:9876", "-m"].map(OsString::from);
        assert!(
            matches!(parse(words).expect("a name server").program, Program::Namesrv(n) if n.common.print_important)
        );
    }

    #[test]
    fn a_message_is_named_in_one_way() {
        let explain = |words: &[&str]| {
            let words = ["reprise", "admin", "explain", "-n", "a:1"].iter().chain(words).map(OsString::from);
            parse(words).is_ok()
        };
        assert!(explain(&["--id", "7F"]) && explain(&["-t", "orders", "-u", "x"]));
        assert!(explain(&["-t", "orders", "-k", "x"]));
        for wrong in [&[][..], &["-t", "orders"], &["-k", "x"], &["--id", "7F", "-t", "orders"]] {
            assert!(!explain(wrong), "{wrong:?}");
        }
        assert!(!explain(&["-t", "orders", "-u", "x", "-k", "y"]));
    }

    #[test]
    fn a_wrong_flag_names_the_nearest() {
        let text = help(&["reprise", "broker", "--storre", "x"]);
        assert!(text.contains("--storre") && text.contains("--store"), "{text}");
    }
}
