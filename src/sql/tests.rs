//! Statements and what they are found to be.

use super::*;

fn classify(text: &str) -> Classified {
    Classifier::default().classify(text.as_bytes(), true).as_ref().clone()
}

#[test]
fn plain_reads() {
    for text in
        ["select 1", "select * from t where a = $1", "with x as (select 1) select * from x", "table t", ""]
    {
        assert_eq!(classify(text).plain_read, Ok(()), "{text}");
    }
}

#[test]
fn writes_need_the_primary() {
    for text in ["with x as (delete from t returning *) select * from x", "insert into t values (1)"] {
        assert_eq!(classify(text).plain_read, Err(NeedsPrimary::Writes), "{text}");
    }
    assert_eq!(classify("begin").plain_read, Err(NeedsPrimary::SessionState));
    assert!(!classify("selec 1").parsed);
}
