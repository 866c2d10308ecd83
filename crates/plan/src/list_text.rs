//! `list_text(list)`: a list of texts as one text, each item followed by a comma, so that an expression can look into it:
//! `list_text(fault_codes) LIKE '%SPN-110-0,%'`. Null items are left out; a null list is null.

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::DataType;
use datafusion_common::{Result, exec_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use std::sync::Arc;

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct ListText(Signature);

impl ListText {
    /// Its name in expressions.
    pub const NAME: &'static str = "list_text";

    /// The function.
    pub fn new() -> Self {
        ListText(Signature::any(1, Volatility::Immutable))
    }
}

fn joined(list: &ArrayRef) -> Option<String> {
    let items = list.as_string_opt::<i32>()?;
    Some(items.iter().flatten().flat_map(|item| [item, ","]).collect())
}

impl ScalarUDFImpl for ListText {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let Some(array) = arrays.first() else {
            return exec_err!("list_text takes one list");
        };
        let texts: StringArray = match array.data_type() {
            DataType::List(item) if *item.data_type() == DataType::Utf8 => {
                let lists = array.as_list::<i32>();
                (0..lists.len()).map(|row| if lists.is_null(row) { None } else { joined(&lists.value(row)) }).collect()
            }
            other => return exec_err!("list_text takes a list of texts, not {other}"),
        };
        Ok(ColumnarValue::Array(Arc::new(texts)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow::array::builder::{ListBuilder, StringBuilder};
    use arrow::datatypes::Field;
    use datafusion_common::config::ConfigOptions;

    fn call(array: ArrayRef) -> Vec<Option<String>> {
        let rows = array.len();
        let field = Arc::new(Field::new("c", array.data_type().clone(), true));
        let args = ScalarFunctionArgs {
            args: vec![ColumnarValue::Array(array)],
            arg_fields: vec![field],
            number_rows: rows,
            return_field: Arc::new(Field::new("r", DataType::Utf8, true)),
            config_options: Arc::new(ConfigOptions::default()),
        };
        let ColumnarValue::Array(out) = ListText::new().invoke_with_args(args).unwrap() else { panic!("no column") };
        out.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
    }

    #[test]
    fn items_stand_apart_and_nulls_are_left_out() {
        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.append_value([Some("a"), None, Some("b")]);
        lists.append_value::<[Option<&str>; 0], &str>([]);
        lists.append_null();
        let want = vec![Some("a,b,".to_string()), Some(String::new()), None];
        assert_eq!(call(Arc::new(lists.finish())), want);
    }
}
