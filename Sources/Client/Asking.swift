import Base

/// Runs requests to their end from a command's own thread (`waiting`); a refusal that nobody took for an answer becomes its
/// error.
func asking<Result: Sendable>(
    onProgress: (Int) -> Void = { _ in },
    _ body: @escaping @Sendable (_ step: @escaping @Sendable () -> Void) async throws -> Result
) throws -> Result {
    do {
        return try waiting(onProgress: onProgress, body)
    } catch let refusal as Refusal {
        throw refusal.error
    }
}

/// Results of all items in their order, so many at the same time; the first error ends the others.
func gather<Item: Sendable, Result: Sendable>(
    _ items: [Item], width: Int, _ body: @escaping @Sendable (Item) async throws -> Result
) async throws -> [Result] {
    try await withThrowingTaskGroup(of: (Int, Result).self) { group in
        var results = [Result?](repeating: nil, count: items.count)
        var next = 0
        func begin() {
            let (index, item) = (next, items[next])
            next += 1
            group.addTask { (index, try await body(item)) }
        }
        while next < min(max(width, 1), items.count) { begin() }
        while let (index, result) = try await group.next() {
            results[index] = result
            if next < items.count { begin() }
        }
        return results.compactMap { $0 }
    }
}
