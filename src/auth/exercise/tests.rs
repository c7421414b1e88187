use super::*;

/// Well-formed conversations to damage: choice byte, then length and body of each message.
fn seeds() -> Vec<Vec<u8>> {
    let talk = |choice: u8, messages: &[&[u8]]| {
        let mut data = vec![choice];
        for message in messages {
            data.extend((message.len() as u16).to_be_bytes());
            data.extend(*message);
        }
        data
    };
    let first: &[u8] = b"n,,n=,r=abcdefgh";
    let bound: &[u8] = b"p=tls-server-end-point,,n=,r=abcdefgh";
    let initial = |mechanism: &[u8], message: &[u8]| {
        [mechanism, b"\0", &(message.len() as u32).to_be_bytes(), message].concat()
    };
    let last: &[u8] =
        b"c=biws,r=abcdefghAwMDAwMDAwMDAwMDAwMDAwMD,p=AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    let challenge: &[u8] = b"\0\0\0\x0br=AwMDAwMDAwMDAwMDAwMDAwMDx,s=AAAA,i=2";
    vec![
        talk(8, &[&initial(b"SCRAM-SHA-256", first), last]),
        talk(24, &[&initial(b"SCRAM-SHA-256-PLUS", bound), last]),
        talk(0, &[b"SCRAM-SHA-256\0\xff\xff\xff\xff", first, last]),
        talk(5, &[b"md50123456789abcdef0123456789abcdef\0"]),
        talk(2, &[b"password\0"]),
        talk(
            48,
            &[b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0", challenge, b"\0\0\0\x0cv=AQEB", &[0; 4]],
        ),
        talk(0, &[b"\0\0\0\x05abcd", &[0; 4]]),
        b"host all all 10.0.0.0/8 scram-sha-256\nhostssl \"a\"\"b\",c all ::1/128 cert clientcert=verify-ca"
            .to_vec(),
        b"\"ann\" \"SCRAM-SHA-256$4096:c2FsdA==$AAAA:AAAA\"\n; no\n\"bob\" \"md5\"".to_vec(),
    ]
}

fn feed(data: &[u8]) {
    client_login(data);
    server_login(data);
    texts(data);
}

#[test]
fn every_prefix_is_survived() {
    for seed in seeds() {
        (0..=seed.len()).for_each(|end| feed(&seed[..end]));
    }
}

#[test]
fn damage_and_noise_are_survived() {
    let mut random = fastrand::Rng::with_seed(2);
    let seeds = seeds();
    for _ in 0..20_000 {
        let mut data = seeds[random.usize(..seeds.len())].clone();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(..data.len());
            match random.u8(..4) {
                0 => data[at] = random.u8(..),
                1 => data[at] = b",=\0rnpcsi\"#/ "[random.usize(..13)],
                2 => data.insert(at, random.u8(..)),
                _ if data.len() > 1 => drop(data.remove(at)),
                _ => {}
            }
        }
        feed(&data);
    }
    for _ in 0..5_000 {
        let length = random.usize(..200);
        let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
        feed(&noise);
    }
}

#[test]
fn a_claimed_length_is_not_allocated() {
    let mut login = ServerLogin::new(ServerLoginFacts {
        user: "fuzz".to_owned(),
        credentials: Arc::new(Credentials::from_password("p")),
        channel_binding: ChannelBinding::Prefer,
        tls: false,
        end_point: None,
        nonce: [3; NONCE_BYTES],
    });
    let mut out = Vec::new();
    login.handle(b"\0\0\0\x0aSCRAM-SHA-256\0\0", &mut out).unwrap();
    assert!(out.capacity() < 256, "{}", out.capacity());
    client_login(b"\x08\x00\x14SCRAM-SHA-256\0\x7f\xff\xff\xffn,");
}
