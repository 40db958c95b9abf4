//! Configuration tables and Java's properties files.

use proptest::prelude::*;

use super::*;

config! {
    /// Settings of a test.
    struct Config {
        "listenPort"    listen_port:     u16 = 9876, "The port.", Important;
        "brokerName"    broker_name:     Text = Text::from_static("b"), "The name.";
        "flushDiskType" flush_disk_type: FlushDiskType = FlushDiskType::AsyncFlush, "When an append counts as done.";
        "slow"          slow:            bool = false, "Whether it is slow.", Live;
        "fileReservedTime" file_reserved_time: i64 = 72, "Hours.", Live, Important;
        "ratio"         ratio:           f64 = 0.5, "A ratio.", Live;
    }
}

fn strict(text: &str) -> Result<Config, String> {
    let mut config = Config::default();
    let problems = apply(&mut [&mut config], &Source::strict("broker.conf"), text.as_bytes());
    problems.map(|_| config).map_err(|problems| problems.to_string())
}

#[test]
fn java_files_are_read_as_java_reads_them() {
    let text = b"# comment\\\n! other \\\r\n\r\n  key : value  \rname\\ one=a\\tb\\u00e9\\ud83d\\ude00\nlong=a,\\\n    b,\\\r\n\tc\nempty\nkey\\=x\ty z\\q\nlatin=\xe9\nend=\\";
    let read: Vec<(usize, String, String)> =
        read_properties(text).into_iter().map(|entry| (entry.line, entry.key, entry.value)).collect();
    let expected = [
        (4, "key", "value  "),
        (5, "name one", "a\tbé😀"),
        (6, "long", "a,b,c"),
        (9, "empty", ""),
        (10, "key=x", "y zq"),
        (11, "latin", "é"),
        (12, "end", ""),
    ];
    assert_eq!(read, expected.map(|(line, key, value)| (line, key.to_owned(), value.to_owned())));
    assert!(read_properties(b"a=\\u12x4")[0].bad.is_some());
    assert!(read_properties(b"a=\\u12")[0].bad.is_some());
}

#[test]
fn a_right_file_sets_what_it_names() {
    let config = strict(
        "listenPort = 1 \nflushDiskType=sync_flush\nslow=TRUE \nfileReservedTime = 168 \nbrokerName=x ",
    )
    .unwrap();
    assert_eq!((config.listen_port, config.slow, config.file_reserved_time), (1, true, 168));
    assert_eq!((config.flush_disk_type, config.broker_name.as_str()), (FlushDiskType::SyncFlush, "x"));
}

#[test]
fn what_is_wrong_is_named_with_file_line_and_nearest_key() {
    let text = "\nflushDiskTyp=SYNC_FLUSH\nlistenPort=70000\nslow=yes\nzzz=1\nflushDiskType=FLUSH\nratio=NaN\nx=\\uzz";
    assert_eq!(
        strict(text).unwrap_err(),
        "broker.conf:2: unknown key `flushDiskTyp`, did you mean `flushDiskType`?\n\
         broker.conf:3: `listenPort` cannot be \"70000\": a whole number from 0 to 65535 is expected\n\
         broker.conf:4: `slow` cannot be \"yes\": true or false is expected\n\
         broker.conf:5: unknown key `zzz`\n\
         broker.conf:6: `flushDiskType` cannot be \"FLUSH\": one of ASYNC_FLUSH SYNC_FLUSH is expected\n\
         broker.conf:7: `ratio` cannot be \"NaN\": a number is expected\n\
         broker.conf:8: a unicode escape without four hexadecimal digits at `x`"
    );
    let mut config = Config::default();
    let warnings =
        apply(&mut [&mut config], &Source::lenient("x"), b"typo=1\nlistenPort=5\nslow=no").unwrap();
    assert_eq!((warnings.len(), config.listen_port, config.slow), (2, 5, false));

    let source = Source { without_effect: &["sendThreadPoolNums"], ..Source::strict("x") };
    let warnings = apply(&mut [&mut config], &source, b"sendThreadPoolNums=4").unwrap();
    assert_eq!(warnings[0].to_string(), "x:1: `sendThreadPoolNums` has no effect here");
}

#[test]
fn a_running_program_takes_all_changes_or_none() {
    let mut config = Config::default();
    let source = Source::strict("request");
    let changes = update(&mut [&mut config], &source, b"slow=true\nlistenPort=9876\nratio=0.5\n").unwrap();
    let change = Change { key: "slow", from: "false".to_owned(), to: "true".to_owned() };
    assert_eq!((changes, config.slow), (vec![change], true));

    let error =
        update(&mut [&mut config], &source, b"slow=false\nlistenPort=1\nnope=1\nratio=x").unwrap_err();
    assert_eq!((error.0.len(), config.slow), (3, true));
    assert!(error.to_string().contains("`listenPort` cannot change while the program runs"), "{error}");
}

#[test]
fn several_tables_print_as_one() {
    config! {
        struct More {
            "alpha" alpha: String = "\\ \n".to_owned(), "First.";
        }
    }
    let (config, mut more) = (Config::default(), More::default());
    let printed = print(&[&config, &more]);
    assert_eq!(
        printed,
        "alpha=\\\\ \\n\nbrokerName=b\nfileReservedTime=72\nflushDiskType=ASYNC_FLUSH\nlistenPort=9876\nratio=0.5\nslow=false\n"
    );
    assert_eq!(print_those(&[&more, &config], Key::is_important), "fileReservedTime=72\nlistenPort=9876\n");
    let mut again = Config { listen_port: 1, ..Config::default() };
    apply(&mut [&mut more, &mut again], &Source::strict("x"), printed.as_bytes()).unwrap();
    assert_eq!(again, config);
}

proptest! {
    #[test]
    fn the_reader_is_total_and_what_is_escaped_reads_back(bytes in prop::collection::vec(any::<u8>(), 0..80), value in any::<String>()) {
        let _ = read_properties(&bytes);
        let _ = apply(&mut [&mut Config::default()], &Source::strict("x"), &bytes);
        let entries = read_properties(format!("key={}\nnext=1", escape(&value)).as_bytes());
        prop_assert_eq!(&entries[0].value, &value);
        prop_assert_eq!(entries.len(), 2);
    }
}
