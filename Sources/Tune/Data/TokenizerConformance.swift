import Model

extension Tokenizer: SampleTokenizer {}
