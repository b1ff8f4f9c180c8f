use std::path::Path;

use insta::assert_snapshot;

use super::{
    files, options,
    server::{Reply, Request, Server},
    shown,
};
use refit_engine::{
    fetch::{Fetch, FetchError, FetchProgress, Fetched},
    graph::SourceUri,
};

use crate::Fetcher;

/// Bytes that no two places of the file have in common.
fn bytes(length: usize) -> Vec<u8> {
    let mut state: u32 = 7;
    let next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn fetch(cache: &Path, url: &str) -> Result<Fetched, FetchError> {
    Fetcher::new(options(cache)).resolve(&SourceUri::Https(url.into()), &mut |_| {})
}

fn failure(cache: &Path, url: &str) -> String {
    shown(&fetch(cache, url).unwrap_err(), cache)
}

#[test]
fn a_file_is_fetched_once_and_keeps_its_name() {
    let cache = tempfile::tempdir().unwrap();
    let whole = bytes(300_000);
    let sent = whole.clone();
    let server = Server::start(move |request| Reply::file(request, &sent));
    let uri = SourceUri::Https(server.url("/models/tiny.gguf?download=true"));
    let fetcher = Fetcher::new(options(cache.path()));
    assert_eq!(fetcher.cached(&uri), None);
    let mut progress = Vec::new();
    let fetched = fetcher.resolve(&uri, &mut |now| progress.push(now)).unwrap();
    assert_eq!(fetched.path.file_name().unwrap(), "tiny.gguf");
    assert_eq!(std::fs::read(&fetched.path).unwrap(), whole);
    assert_eq!(progress.first(), Some(&FetchProgress { done: 0, total: Some(300_000) }));
    assert_eq!(progress.last(), Some(&FetchProgress { done: 300_000, total: Some(300_000) }));
    assert!(progress.is_sorted_by_key(|now| now.done));
    assert_eq!(fetcher.resolve(&uri, &mut |_| {}).unwrap(), fetched);
    assert_eq!(fetcher.cached(&uri), Some(fetched));
    assert_eq!(server.requests().len(), 1);
    assert!(!files(cache.path()).iter().any(|file| file.contains(".part")));
}

#[test]
fn redirects_are_followed_in_every_form() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(|request| match request.target.as_str() {
        "/a/one" => Reply::redirect("two?x=1"),
        "/a/two?x=1" => Reply::redirect("/b/three"),
        "/b/three" => Reply::redirect("../c/./four"),
        "/c/four" => {
            Reply::redirect(format!("http://localhost:{}/five", request.headers["host"].split(':').nth(1).unwrap()))
        }
        "/five" => Reply::new(200, "here"),
        other => panic!("{other}"),
    });
    let fetched = fetch(cache.path(), &server.url("/a/one")).unwrap();
    assert_eq!(std::fs::read(fetched.path).unwrap(), b"here");
    assert_eq!(server.requests().len(), 5);
}

#[test]
fn a_circle_of_redirects_ends() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(|_| Reply::redirect("/again"));
    assert_snapshot!(failure(cache.path(), &server.url("/file")));
    assert_eq!(server.requests().len(), 11);
}

#[test]
fn a_redirect_without_a_usable_target_is_named() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(|request| match request.target.as_str() {
        "/none" => Reply::new(302, ""),
        "/scheme" => Reply::redirect("file:///etc/passwd"),
        _ => Reply::redirect("http://plain.invalid/x"),
    });
    for (path, code) in
        [("/none", "fetch::bad_address"), ("/scheme", "fetch::bad_address"), ("/plain", "fetch::plain_http")]
    {
        assert_eq!(fetch(cache.path(), &server.url(path)).unwrap_err().code(), code, "{path}");
    }
}

#[test]
fn a_broken_connection_is_continued_where_it_broke() {
    let cache = tempfile::tempdir().unwrap();
    let whole = bytes(500_000);
    let sent = whole.clone();
    let server = Server::start(move |request: &Request| {
        let reply = Reply::file(request, &sent).header("ETag", "\"v1\"");
        if request.nth < 4 { reply.cut(100_000) } else { reply }
    });
    let fetched = fetch(cache.path(), &server.url("/file.bin")).unwrap();
    assert_eq!(std::fs::read(fetched.path).unwrap(), whole);
    let asked: Vec<_> = server.requests().iter().map(Request::from).collect();
    assert_eq!(asked, [None, Some(100_000), Some(200_000), Some(300_000), Some(400_000)]);
    assert_eq!(server.requests()[1].headers["if-range"], "\"v1\"");
}

#[test]
fn a_server_that_cannot_continue_sends_all_again() {
    let cache = tempfile::tempdir().unwrap();
    let whole = bytes(200_000);
    let sent = whole.clone();
    let server = Server::start(move |request: &Request| {
        let reply = Reply::new(200, sent.clone());
        if request.nth == 0 { reply.cut(70_000) } else { reply }
    });
    let fetched = fetch(cache.path(), &server.url("/file.bin")).unwrap();
    assert_eq!(std::fs::read(fetched.path).unwrap(), whole);
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_file_that_changed_meanwhile_is_taken_whole() {
    let cache = tempfile::tempdir().unwrap();
    let (old, new) = (bytes(200_000), bytes(150_000).into_iter().rev().collect::<Vec<_>>());
    let sent = new.clone();
    let server = Server::start(move |request: &Request| match request.nth {
        0 => Reply::file(request, &old).header("ETag", "\"old\"").cut(70_000),
        // If-Range names the old tag, so the range does not count.
        _ => Reply::new(200, sent.clone()).header("ETag", "\"new\""),
    });
    let fetched = fetch(cache.path(), &server.url("/file.bin")).unwrap();
    assert_eq!(std::fs::read(fetched.path).unwrap(), new);
}

#[test]
fn a_connection_that_never_gets_further_is_given_up_and_continued_by_the_next_run() {
    let cache = tempfile::tempdir().unwrap();
    let whole = bytes(200_000);
    let sent = whole.clone();
    let server = Server::start(move |request: &Request| {
        let reply = Reply::file(request, &sent).header("ETag", "\"v1\"");
        match request.nth {
            0 => reply.cut(80_000),
            1..=3 => reply.cut(0),
            _ => reply,
        }
    });
    let url = server.url("/file.bin");
    assert_snapshot!(failure(cache.path(), &url));
    let fetched = fetch(cache.path(), &url).unwrap();
    assert_eq!(std::fs::read(fetched.path).unwrap(), whole);
    let last = server.requests().pop().unwrap();
    assert_eq!(last.from(), Some(80_000));
    assert_eq!(last.headers["if-range"], "\"v1\"");
}

#[test]
fn what_no_tag_guards_is_not_continued_by_the_next_run() {
    let cache = tempfile::tempdir().unwrap();
    let whole = bytes(200_000);
    let sent = whole.clone();
    let server = Server::start(move |request: &Request| match request.nth {
        0 => Reply::file(request, &sent).cut(80_000),
        1..=3 => Reply::file(request, &sent).cut(0),
        _ => Reply::file(request, &sent),
    });
    let url = server.url("/file.bin");
    assert_eq!(fetch(cache.path(), &url).unwrap_err().code(), "fetch::broken_connection");
    assert_eq!(std::fs::read(fetch(cache.path(), &url).unwrap().path).unwrap(), whole);
    assert_eq!(server.requests().pop().unwrap().from(), None);
}

#[test]
fn refusals_say_what_to_do() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(|request| match request.target.as_str() {
        "/401" => Reply::new(401, "who are you?"),
        "/403" => Reply::new(403, "<html>no</html>"),
        "/404?secret=1" => Reply::new(404, r#"{"error": "gone"}"#),
        _ => Reply::new(418, "I am a teapot"),
    });
    let shown: Vec<_> =
        ["/401", "/403", "/404?secret=1", "/418"].iter().map(|path| failure(cache.path(), &server.url(path))).collect();
    assert_snapshot!(shown.join("\n"));
    assert_eq!(server.requests().len(), 4);
    assert!(!files(cache.path()).iter().any(|file| file.contains(".part")));
}

#[test]
fn a_busy_server_is_asked_again_and_not_for_ever() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(|request| match (request.target.as_str(), request.nth) {
        ("/soon", 0) => Reply::new(429, "slow down").header("Retry-After", "3600"),
        ("/soon", 1) => Reply::new(503, ""),
        ("/soon", _) => Reply::new(200, "now"),
        ("/429", _) => Reply::new(429, "slow down"),
        _ => Reply::new(500, ""),
    });
    assert_eq!(std::fs::read(fetch(cache.path(), &server.url("/soon")).unwrap().path).unwrap(), b"now");
    let shown = ["/429", "/500"].map(|path| failure(cache.path(), &server.url(path)));
    assert_snapshot!(shown.join("\n"));
    assert_eq!(server.requests().len(), 9);
}

#[test]
fn a_digest_that_the_server_names_is_checked() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(|request| match request.target.as_str() {
        "/wrong" => Reply::new(200, "damaged").header("X-Linked-Etag", format!("\"{}\"", "0".repeat(64))),
        // SHA-256 of `abc`, on the answer that redirects.
        "/right" => Reply::redirect("/content")
            .header("X-Linked-Etag", "\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\""),
        _ => Reply::new(200, "abc"),
    });
    assert_snapshot!(failure(cache.path(), &server.url("/wrong")));
    assert!(fetch(cache.path(), &server.url("/right")).is_ok());
    assert!(!files(cache.path()).iter().any(|file| file.contains(".part")));
}

#[test]
fn a_file_too_large_for_the_disk_is_refused_before_it_begins() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(|_| Reply::new(200, "x").header("Content-Length", (1_u64 << 60).to_string()));
    let error = fetch(cache.path(), &server.url("/huge")).unwrap_err();
    assert_eq!(error.code(), "fetch::disk_full");
    assert!(error.to_string().starts_with("the download needs 1.2 EB, and "), "{error}");
    assert!(!files(cache.path()).iter().any(|file| file.contains(".part")));
}

#[test]
fn without_a_network_the_error_says_what_goes_where() {
    let cache = tempfile::tempdir().unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{closed}/a/model.gguf");
    let error = fetch(cache.path(), &url).unwrap_err();
    assert_eq!(error.code(), "fetch::no_network");
    let said = shown(&error, cache.path());
    assert_snapshot!(said.lines().filter(|line| !line.starts_with("cause")).collect::<Vec<_>>().join("\n"));
    let help = error.way_out().unwrap();
    let place = Path::new(help.split("save it as ").nth(1).unwrap().split(';').next().unwrap());
    // And it is true.
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::write(place, "by hand").unwrap();
    let offline = Fetcher::new(crate::FetchOptions { offline: true, ..options(cache.path()) });
    assert_eq!(std::fs::read(offline.resolve(&SourceUri::Https(url), &mut |_| {}).unwrap().path).unwrap(), b"by hand");
}

#[test]
fn offline_touches_no_network() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(|_| Reply::new(200, "x"));
    let fetcher = Fetcher::new(crate::FetchOptions { offline: true, ..options(cache.path()) });
    let error = fetcher.resolve(&SourceUri::Https(server.url("/x")), &mut |_| {}).unwrap_err();
    assert_eq!(error.code(), "fetch::offline");
    assert!(server.requests().is_empty());
}

#[test]
fn two_at_once_fetch_it_once() {
    let cache = tempfile::tempdir().unwrap();
    let whole = bytes(400_000);
    let sent = whole.clone();
    let server = Server::start(move |request| Reply::file(request, &sent));
    let url = server.url("/file.bin");
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..4).map(|_| scope.spawn(|| fetch(cache.path(), &url).unwrap())).collect();
        for one in all {
            assert_eq!(std::fs::read(one.join().unwrap().path).unwrap(), whole);
        }
    });
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn what_is_no_certificate_is_named() {
    let cache = tempfile::tempdir().unwrap();
    let pem = cache.path().join("ca.pem");
    std::fs::write(&pem, "hello").unwrap();
    let fetcher = Fetcher::new(crate::FetchOptions { certificates: Some(pem), ..options(cache.path()) });
    let error = fetcher.resolve(&SourceUri::Https("https://127.0.0.1:9/x".into()), &mut |_| {}).unwrap_err();
    assert_eq!(error.code(), "fetch::tls");
}
