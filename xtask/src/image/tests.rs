//! What a person may get wrong.

use super::*;

#[test]
fn versions_are_three_numbers() {
    let version = "1.20.3".parse::<ImageVersion>().expect("a version").0;
    assert_eq!(version.to_string(), "1.20.3");
    for bad in ["1.2", "1.2.3.4", "1.2.x", "1.2.70000", "", "-1.0.0"] {
        let error = bad.parse::<ImageVersion>().expect_err(bad);
        assert!(error.contains("as in 1.2.3"), "{error}");
    }
}

#[test]
fn mac_addresses_are_of_one_card() {
    let mac = parse_mac("02:00:5e:00:00:01").expect("an address");
    assert_eq!(mac, [2, 0, 0x5e, 0, 0, 1]);
    for bad in [
        "02:00:00:00:00",
        "01:00:00:00:00:01",
        "00:00:00:00:00:00",
        "02-00-00-00-00-01",
        "+2:00:00:00:00:01",
        "02:00:00:00:00:01:",
    ] {
        assert!(parse_mac(bad).is_err(), "{bad}");
    }
}

#[test]
fn keys_come_back_from_their_files_and_are_never_overwritten() {
    let folder = std::env::temp_dir().join(format!("sluice-keys-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("key.pem");
    let made = keys::generate(&path).expect("a key");
    assert_eq!(
        keys::private(&path).expect("the key").public(),
        made.public()
    );
    let public = folder.join("key.pem.pub");
    assert_eq!(keys::public(&public).expect("the key"), made.public());
    let again = keys::generate(&path).map(|_| ()).expect_err("it is there");
    assert!(again.to_string().contains("never overwritten"), "{again}");
    let wrong = keys::private(&public).map(|_| ()).expect_err("public");
    assert!(
        wrong.to_string().contains("no private Ed25519 key"),
        "{wrong}"
    );
    std::fs::remove_dir_all(&folder).expect("removed");
}
