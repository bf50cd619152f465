import Foundation
import Quant

/// What defines a LoRA adapter, in PEFT's words (`adapter_config.json`).
public struct LoRAConfig: Sendable, Equatable {
    /// Rank.
    public var r: Int
    /// `lora_alpha`: the product is scaled by alpha / r, or alpha / √r with `useRSLoRA`.
    public var loraAlpha: Double
    /// `lora_dropout`: probability of dropping an element of the adapter's input in training.
    public var loraDropout: Double
    /// `target_modules`; in a model that fuses one of them with others, the fused module is meant.
    public var targetModules: Set<Projection>
    /// `layers_to_transform`: the decoder layers whose modules are meant, ascending; empty: every layer.
    public var layersToTransform: [Int] = []
    /// `target_modules` as a regular expression over whole paths, in place of `targetModules`; nil: these count.
    public var targetPattern: String?
    /// `exclude_modules`; nil: none.
    public var excludeModules: ModuleNames?
    /// `use_rslora`.
    public var useRSLoRA: Bool
    /// `trainable_token_indices`: tokens whose rows of the input embedding are the adapter's own, each once.
    public var tokens: [Int32] = []
    /// `rank_pattern`, resolved to modules: ranks that differ from `r`.
    public var rankPattern: [ModuleKey: Int] = [:]
    /// `alpha_pattern`, resolved to modules: alphas that differ from `loraAlpha`.
    public var alphaPattern: [ModuleKey: Double] = [:]

    /// A configuration; the defaults are those of the MEraser erase preset.
    public init(
        r: Int = 8, loraAlpha: Double = 16, loraDropout: Double = 0.05,
        targetModules: Set<Projection> = [.q_proj, .v_proj], useRSLoRA: Bool = false
    ) {
        self.r = r
        self.loraAlpha = loraAlpha
        self.loraDropout = loraDropout
        self.targetModules = targetModules
        self.useRSLoRA = useRSLoRA
    }

    /// Rank of one module.
    public func rank(of module: ModuleKey) -> Int { rankPattern[module] ?? r }

    /// The factor on B·A of one module: the only place where it is computed.
    public func scale(of module: ModuleKey) -> Float {
        let alpha = alphaPattern[module] ?? loraAlpha
        let rank = Double(self.rank(of: module))
        return Float(useRSLoRA ? alpha / rank.squareRoot() : alpha / rank)
    }
}
