//! The extended query protocol: groups, errors in them, portals.

use super::messages::*;
use super::world::every_cut;

#[test]
fn a_group_is_one_checkout() {
    every_cut(|world| {
        let all = [once("select 1"), sync()].concat();
        world.says(&all, "1, 2, D:1, C:SELECT 1, Z:I");
        world.expect_at(0, "P::select 1, B::, E:, S");
        assert!(!world.clients[0].session.is_attached());
    });
}

#[test]
fn an_error_at_any_message_skips_to_sync() {
    every_cut(|world| {
        let tail = [run("", &[]), sync()].concat();
        world.says(&[parse("", "selec"), tail.clone()].concat(), "E:42601, Z:I");
        world.says(&[parse("", "select 1"), bind("", "nope", &[]), tail.clone()].concat(), "1, E:26000, Z:I");
        let describe = [parse("", "select 1"), describe_portal("nope"), tail.clone()].concat();
        world.says(&describe, "1, E:34000, Z:I");
        world.says(&[once("select 1/0"), tail.clone()].concat(), "1, 2, E:22012, Z:I");
        let query_within = [once("select 1/0"), query("select 5"), sync()].concat();
        world.says(&query_within, "1, 2, E:22012, Z:I");
        assert!(!world.clients[0].session.is_attached());
    });
}
