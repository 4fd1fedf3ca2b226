//! Users of both password plugins can relay, with TLS and without.

use crate::harness::relay::SOON;
use crate::harness::scene::Scene;
use crate::harness::workload::PlainWriter;

#[test]
fn a_caching_sha2_user_relays_over_tls_and_without() {
    // The first login of a user is the full exchange: over TLS in the clear, else by the server's key.
    for (label, mode) in [("sha2_tls", "preferred"), ("sha2_plain", "disabled")] {
        relays_as(label, "caching_sha2_password", mode);
    }
}

#[test]
fn a_native_password_user_relays() {
    relays_as("native", "mysql_native_password", "preferred");
}

fn relays_as(label: &str, plugin: &str, tls_mode: &str) {
    let scene = Scene::on_shared_servers(label);
    let mut writer = PlainWriter::on(&scene);
    let user = format!("{label}_{:x}", rand::random::<u32>());
    writer.sql.run(format!("CREATE USER '{user}'@'%' IDENTIFIED WITH {plugin} BY 'pass wörd'"));
    writer
        .sql
        .run(format!("GRANT REPLICATION SLAVE, REPLICATION CLIENT, SELECT ON *.* TO '{user}'@'%'"));
    let mut setup = scene.relay_setup();
    setup.mysql_user = user;
    setup.mysql_password = "pass wörd".to_owned();
    setup.mysql_lines.push(format!("tls = {{ mode = \"{tls_mode}\" }}"));
    let relay = setup.start();
    writer.write(2);
    scene.judge_clean(&writer.ledger, &relay, SOON);
}
