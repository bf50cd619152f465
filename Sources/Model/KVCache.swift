import Foundation
import Kernels
import Quant

/// Keys and values of one sequence for all layers, grown by the forward pass, in pages of 64 positions.
///
/// A fork shares its pages with the original until one of the two writes into them, so that sequences with a common
/// beginning hold it once. Not thread-safe.
public final class KVCache {
    /// Positions it can hold.
    public let capacity: Int
    /// Positions it holds.
    public private(set) var count = 0
    /// How keys and values are stored.
    public let type: KeyValueType
    private let layers: Int
    private let layerBytes: Int
    private var pages: [Page] = []
    private let addresses: KeyValuePages

    /// A cache for `capacity` positions of that model; memory is taken page by page as it fills.
    public init(spec: DecoderSpec, capacity: Int, type: KeyValueType) {
        self.capacity = capacity
        self.type = type
        layers = spec.numHiddenLayers
        layerBytes = spec.layers[0].attention.shape.pageBytes(type)
        addresses = Self.table(capacity)
    }

    private init(forking other: KVCache, count: Int, capacity: Int) {
        precondition(count <= other.count && count <= capacity, "\(count) positions of \(other.count) for \(capacity)")
        self.capacity = capacity
        type = other.type
        layers = other.layers
        layerBytes = other.layerBytes
        addresses = Self.table(capacity)
        self.count = count
        for page in other.pages.prefix(Self.pageCount(count)) { append(page) }
    }

    deinit { addresses.deallocate() }

    /// A cache for `capacity` positions that holds the first `count` of this one (nil: all).
    public func fork(count: Int? = nil, capacity: Int) -> KVCache {
        KVCache(forking: self, count: count ?? self.count, capacity: capacity)
    }

    /// Bytes of its pages, those that it shares included.
    var byteCount: Int { pages.count * layers * layerBytes }

    /// Bytes that a cache of `capacity` positions takes once it is full.
    public static func byteCount(spec: DecoderSpec, capacity: Int, type: KeyValueType) -> Int {
        pageCount(capacity) * spec.numHiddenLayers * spec.layers[0].attention.shape.pageBytes(type)
    }

    /// Forgets every position from `n` on.
    public func truncate(to n: Int) {
        precondition(n <= count)
        count = n
    }

    /// Makes the pages of the next `n` positions its own, before the layers write them.
    func reserve(_ n: Int) {
        precondition(count + n <= capacity, "KV cache of \(capacity) positions is full")
        for index in (count / AttentionShape.pageKeys)..<max(Self.pageCount(count + n), count / AttentionShape.pageKeys)
        {
            guard index < pages.count else {
                append(Page(byteCount: layers * layerBytes))
                continue
            }
            guard !isKnownUniquelyReferenced(&pages[index]) else { continue }
            let page = Page(byteCount: layers * layerBytes)
            if index * AttentionShape.pageKeys < count { page.copy(from: pages[index]) }
            pages[index] = page
            addresses[index] = page.memory
        }
    }

    /// Counts `n` more positions as held, after every layer has written them.
    func advance(by n: Int) { count += n }

    /// The pages, `offset(layer:)` bytes into which a layer's part begins.
    var table: KeyValuePages { addresses }

    /// Bytes from the beginning of a page to that layer's part.
    func offset(layer: Int) -> Int { layer * layerBytes }

    private func append(_ page: Page) {
        addresses[pages.count] = page.memory
        pages.append(page)
    }

    private static func pageCount(_ positions: Int) -> Int {
        (positions + AttentionShape.pageKeys - 1) / AttentionShape.pageKeys
    }

    private static func table(_ capacity: Int) -> KeyValuePages {
        let count = max(pageCount(capacity), 1)
        let table = KeyValuePages.allocate(capacity: count)
        table.initialize(repeating: nil, count: count)
        return table
    }

    /// 64 positions of all layers. What was not written is undefined, and not read as a number that counts.
    private final class Page {
        let memory: UnsafeMutableRawPointer
        private let byteCount: Int

        init(byteCount: Int) {
            self.byteCount = byteCount
            memory = .allocate(byteCount: byteCount, alignment: 64)
        }

        deinit { memory.deallocate() }

        func copy(from other: Page) { memory.copyMemory(from: other.memory, byteCount: byteCount) }
    }
}
