//! `hash_share(text)`: a number in [0, 1) that depends on the text alone and looks random. It makes samples, experiment
//! arms and holdouts that are the same on every machine and on every replay: `hash_share('holdout-1/' || customer_id) < 0.1`.

use arrow::array::{AsArray, Float64Array};
use arrow::datatypes::DataType;
use datafusion_common::{Result, exec_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct HashShare(Signature);

impl HashShare {
    /// Its name in expressions.
    pub const NAME: &'static str = "hash_share";

    /// The function.
    pub fn new() -> Self {
        HashShare(Signature::exact(vec![DataType::Utf8], Volatility::Immutable))
    }
}

/// FNV-1a, then splitmix64's finish, of which 53 bits are taken. Written down for ever: holdouts rest on it.
fn share(text: &str) -> f64 {
    let mut mixed = text.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

impl ScalarUDFImpl for HashShare {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let Some(texts) = arrays.first().and_then(|array| array.as_string_opt::<i32>()) else {
            return exec_err!("hash_share takes one text");
        };
        let shares: Float64Array = texts.iter().map(|text| text.map(share)).collect();
        Ok(ColumnarValue::Array(std::sync::Arc::new(shares)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_independent_of_the_prefix_and_never_change() {
        let ids: Vec<String> = (0..20_000).map(|i| format!("cust-{i:04}")).collect();
        let below = |prefix: &str, limit: f64| ids.iter().filter(|id| share(&format!("{prefix}{id}")) < limit).count();
        for limit in [0.05, 0.1, 0.5, 0.9] {
            let expected = limit * 20_000.0;
            assert!((below("a/", limit) as f64 - expected).abs() < 4.0 * (expected * (1.0 - limit)).sqrt(), "{limit}");
        }
        let both = ids.iter().filter(|id| share(&format!("a/{id}")) < 0.1 && share(&format!("b/{id}")) < 0.1).count();
        assert!((140..260).contains(&both), "two experiments hold out different customers: {both}");
        // Computed apart from this code: these values are part of the contract.
        assert!((share("") - 0.9576734252420561).abs() < 1e-15 && (share("churn-holdout-1/cust-0001") - 0.2146556357258117).abs() < 1e-15);
    }
}
