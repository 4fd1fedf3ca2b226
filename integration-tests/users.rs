//! Users of both password plugins can relay, with TLS and without.

use crate::harness::relay::SOON;
use crate::harness::scene::Scene;
use crate::harness::workload::PlainWriter;

#[test]
fn a_caching_sha2_user_relays_over_tls_and_without() {
    // The first login of a user is the full exchange: over TLS in the clear, else by the server's key.
    // The server takes the first of them over TLS only, so that it does not pass without.
    for (label, requirement, mode) in
        [("sha2_tls", "REQUIRE SSL", "required"), ("sha2_plain", "REQUIRE NONE", "disabled")]
    {
        relays_as(label, "caching_sha2_password", requirement, mode);
    }
}

#[test]
fn a_native_password_user_relays() {
    relays_as("native", "mysql_native_password", "REQUIRE NONE", "preferred");
}

fn relays_as(label: &str, plugin: &str, requirement: &str, tls_mode: &str) {
    let scene = Scene::on_shared_servers(label);
    let mut writer = PlainWriter::on(&scene);
    let user = format!("{label}_{:x}", rand::random::<u32>());
    writer.sql.run(format!(
        "CREATE USER '{user}'@'%' IDENTIFIED WITH {plugin} BY 'pass wörd' {requirement}"
    ));
    let name = &scene.name;
    writer.sql.run(format!("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '{user}'@'%'"));
    writer.sql.run(format!("GRANT SELECT ON {name}.* TO '{user}'@'%'"));
    let mut setup = scene.relay_setup();
    setup.mysql_user = user;
    setup.mysql_password = "pass wörd".to_owned();
    setup.mysql_lines.push(format!("tls = {{ mode = \"{tls_mode}\" }}"));
    let relay = setup.start();
    writer.write(2);
    scene.judge_clean(&writer.ledger, &relay, SOON);
}
