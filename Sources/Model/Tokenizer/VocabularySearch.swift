/// Looks many texts up in a vocabulary at once: each step is done for all of them, so that none waits for the memory that
/// another one needs.
struct VocabularySearch {
    typealias Text = UnsafeBufferPointer<UInt8>

    /// The most texts of one search.
    static let atOnce = 256

    private let vocabulary: Vocabulary
    private let homes: UnsafeMutableBufferPointer<Vocabulary.Home>
    /// What is looked up: who searches writes it.
    let texts: UnsafeMutableBufferPointer<Text>
    /// What was found: the ids of the texts, -1 for what is no token.
    let ids: UnsafeMutableBufferPointer<Int32>

    /// Calls `body` with a search that is valid as long as it runs.
    static func with<Result>(
        _ vocabulary: Vocabulary, _ body: (VocabularySearch) throws -> Result
    ) rethrows -> Result {
        try withUnsafeTemporaryAllocation(of: Vocabulary.Home.self, capacity: atOnce) { homes in
            try withUnsafeTemporaryAllocation(of: Text.self, capacity: atOnce) { texts in
                try withUnsafeTemporaryAllocation(of: Int32.self, capacity: atOnce) { ids in
                    try body(VocabularySearch(vocabulary: vocabulary, homes: homes, texts: texts, ids: ids))
                }
            }
        }
    }

    /// Looks the first `count` texts up.
    func find(_ count: Int) {
        for i in 0..<count { homes[i] = vocabulary.home(texts[i]) }
        vocabulary.look(at: UnsafeMutableBufferPointer(rebasing: homes[..<count]))
        for i in 0..<count { ids[i] = vocabulary.id(of: texts[i], homes[i]) }
    }
}
