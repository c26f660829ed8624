use super::*;
use std::io::{Read, Write};
use std::net::TcpListener;

#[test]
fn values_are_quoted_for_curl() {
    let cases = [
        ("plain", r#""plain""#),
        (r#"{"a":"b\c"}"#, r#""{\"a\":\"b\\c\"}""#),
        ("two\nlines", r#""two\nlines""#),
    ];
    for (value, expected) in cases {
        assert_eq!(quoted(value), expected);
    }
    let config = Client::default().config("", "POST", "http://[::1]:1/x", &[]);
    assert!(config.contains("globoff\n") && config.ends_with("url = \"http://[::1]:1/x\"\n"), "{config}");
}

#[test]
fn certificates_go_by_path_and_a_login_is_shown_to_curl_alone() {
    let path = |p: &str| Some(PathBuf::from(p));
    let client = Client {
        tls: Tls { cert: path("/a:b\\c.pem"), key: path("/k.pem"), ca: path("/ca \"1\".pem") },
        login: Login::new("root:a:b\"c".to_owned()),
        ..Client::default()
    };
    let config = client.config("", "GET", "https://e1:1/", &client.options(None));
    for line in [
        r#"cert = "/a\\:b\\\\c.pem""#,
        r#"key = "/k.pem""#,
        r#"cacert = "/ca \"1\".pem""#,
        r#"user = "root:a:b\"c""#,
    ] {
        assert!(config.lines().any(|l| l == line), "no {line} in: {config}");
    }
    assert!(!format!("{client:?}").contains("a:b\"c"));
    for bad in ["", "root", ":password"] {
        assert_eq!(Login::new(bad.to_owned()), None, "{bad:?}");
    }
    let plain = Client::default();
    let plain = plain.config("", "GET", "http://e1:1/", &plain.options(None));
    let absent = ["cert", "key", "cacert", "user", "limit-rate", "speed-time"];
    assert!(!absent.iter().any(|n| plain.contains(&format!("{n} ="))), "{plain}");
    let paced = Client::default().paced(5 << 20, Duration::from_secs(7200));
    let paced = paced.config("", "GET", "http://e1:1/", &[]);
    for line in [
        r#"max-time = "7200.000""#,
        r#"limit-rate = "5242880""#,
        r#"speed-limit = "1""#,
        r#"speed-time = "60""#,
    ] {
        assert!(paced.lines().any(|l| l == line), "no {line} in: {paced}");
    }
}

#[test]
fn answers_are_taken_apart() {
    let raw = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nX-Etcd-Index: 5\r\nA: b:c\r\n\r\nno\r\n\r\nkey";
    let got = parse_response(raw).unwrap();
    assert_eq!((got.status, got.header("x-etcd-index"), got.header("a")), (404, Some("5"), Some("b:c")));
    assert_eq!(got.body, b"no\r\n\r\nkey");
    assert_eq!(got.header("missing"), None);
    for bad in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"SSH-2.0\r\n\r\n", b"HTTP/1.1 x\r\n\r\n"] {
        assert!(parse_response(bad).is_err(), "{}", String::from_utf8_lossy(bad));
    }
}

/// Serves one request with a fixed answer; what was asked comes back from the thread.
fn serve(answer: &'static [u8]) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = vec![0; 4096];
        let n = stream.read(&mut asked).unwrap();
        stream.write_all(answer).unwrap();
        String::from_utf8_lossy(&asked[..n]).into_owned()
    });
    (url, thread)
}

#[test]
fn a_request_goes_through_curl() {
    let (url, thread) = serve(b"HTTP/1.1 201 Created\r\nX-Raft-Index: 7\r\nContent-Length: 2\r\n\r\nok");
    let got = Client::default().post(&format!("{url}/v2/members"), r#"{"q":"\""}"#).unwrap();
    assert_eq!((got.status, got.header("X-Raft-Index"), &got.body[..]), (201, Some("7"), &b"ok"[..]));
    let asked = thread.join().unwrap();
    assert!(asked.starts_with("POST /v2/members HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("Content-Type: application/json") && asked.ends_with(r#"{"q":"\""}"#), "{asked}");
}

#[test]
fn no_answer_is_an_error_that_names_the_url() {
    let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let client = Client { limit: Duration::from_millis(200), ..Client::default() };
    // It listens, but nobody ever answers.
    let error = client.get(&url).unwrap_err();
    assert!(error.to_string().starts_with(&format!("GET {url}: ")), "{error:#}");
    assert!(is_silence(&error) && !is_unasked(&error), "{error:#}");
    drop(listener);
    let error = client.get(&url).unwrap_err();
    assert!(error.to_string().contains("(7)") && is_silence(&error), "{error:#}");
}

#[test]
fn what_keeps_us_from_asking_is_no_silence() {
    use crate::exit::{Exit, exit_of, hint_of};
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| Some(dir.path().join(name));
    crate::sys::fs::write_atomic(&dir.path().join("odd.pem"), b"no certificate", 0o600).unwrap();
    // It is connected to, and says nothing.
    let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let mut clients = Vec::new();
    for (tls, said) in [
        (Tls { cert: path("none.pem"), ..Tls::default() }, "opening the certificate "),
        (Tls { cert: path("odd.pem"), key: path("none.key"), ..Tls::default() }, "opening the key "),
        (Tls { ca: path("none.ca"), ..Tls::default() }, "opening the CA certificate "),
        (Tls { ca: path("odd.pem"), ..Tls::default() }, "(77)"),
        (Tls { cert: path("odd.pem"), key: path("odd.pem"), ..Tls::default() }, "(58)"),
    ] {
        let client = Client { tls, ..Client::default() };
        let error = client.get(&url).unwrap_err();
        assert!(is_unasked(&error) && !is_silence(&error), "{error:#}");
        assert!(exit_of(&error) == Exit::Settings && hint_of(&error).is_some(), "{error:#}");
        assert!(format!("{error:#}").contains(said) && format!("{error:#}").contains(&url), "{error:#}");
        clients.push(client);
    }
    // Who is down is, whatever the certificates are.
    drop(listener);
    for client in clients {
        let error = client.get(&url).unwrap_err();
        assert!(is_silence(&error) && !is_unasked(&error), "{error:#}");
    }
    for url in ["http://no-such-host.invalid:1", "ftp://127.0.0.1:1"] {
        let error = Client::default().get(url).unwrap_err();
        assert!(is_unasked(&error) && !is_silence(&error), "{error:#}");
    }
    let (url, thread) = serve(b"SSH-2.0-x\r\n");
    let error = Client::default().get(&url).unwrap_err();
    assert!(!is_unasked(&error) && !is_silence(&error), "{error:#}");
    thread.join().unwrap();
    let error = unasked("GET http://e1: answered 403".into()).context("all");
    assert!(is_unasked(&error) && !is_silence(&error));
}
