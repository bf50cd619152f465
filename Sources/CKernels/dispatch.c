/// The only file that asks the CPU what it can do.
#include <string.h>

#include "isa.h"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif
#if defined(__x86_64__)
#include <cpuid.h>
#endif

static bool cpu_has(const char *name) {
#if defined(__x86_64__)
    if (strcmp(name, "avx2") == 0) {  // Intel Haswell 2013, AMD Excavator 2015 and later
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    }
    if (strcmp(name, "avxvnni") == 0) {  // Intel Alder Lake 2021, AMD Zen 5 2024 and later
        return cpu_has("avx2") && __builtin_cpu_supports("avxvnni");
    }
    if (strcmp(name, "avx512") == 0) {  // Intel Skylake-X 2017, AMD Zen 4 2022 and later
        return cpu_has("avx2") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    }
    if (strcmp(name, "avx512vnni") == 0) {  // Intel Ice Lake 2019, AMD Zen 4 2022 and later
        return cpu_has("avx512") && __builtin_cpu_supports("avx512vnni");
    }
    if (strcmp(name, "avx512bf16") == 0) {  // Intel Sapphire Rapids 2023, AMD Zen 4 2022 and later
        return cpu_has("avx512vnni") && __builtin_cpu_supports("avx512bf16");
    }
    if (strcmp(name, "avx512intel") == 0) {  // Intel Sapphire Rapids 2023 and later
        return cpu_has("avx512bf16") && __builtin_cpu_is("intel");
    }
#endif
#if defined(__aarch64__)
    if (strcmp(name, "neon") == 0) {  // Cortex-A75 and A55 2017, Apple A13 and M1, and later
#if defined(__linux__)
        return (getauxval(AT_HWCAP) & (1u << 20)) != 0;  // HWCAP_ASIMDDP
#else
        return true;
#endif
    }
#endif
    return strcmp(name, "portable") == 0;
}

mk_cpu mk_cpu_identity(void) {
    mk_cpu cpu = {.vendor = ""};
#if defined(__x86_64__)
    uint32_t leaf, name[3], signature, b, c, d;
    if (__get_cpuid(0, &leaf, &name[0], &name[2], &name[1]) == 0) return cpu;
    memcpy(cpu.vendor, name, sizeof name);
    if (__get_cpuid(1, &signature, &b, &c, &d) == 0) return cpu;
    // Intel SDM 2A, CPUID; AMD 24594, CPUID Fn0000_0001_EAX: the extended parts count from family 15 (model: 6 too) on.
    int32_t family = signature >> 8 & 15, model = signature >> 4 & 15;
    if (family == 6 || family == 15) model |= (int32_t)(signature >> 16 & 15) << 4;
    if (family == 15) family += (int32_t)(signature >> 20 & 255);
    cpu.family = family;
    cpu.model = model;
#endif
    return cpu;
}

static const mk_isa *const tables[] = {
    &mk_isa__portable,
#if defined(__aarch64__)
    &mk_isa__neon,
#endif
#if defined(__x86_64__)
    &mk_isa__avx2,       &mk_isa__avxvnni,    &mk_isa__avx512,
    &mk_isa__avx512vnni, &mk_isa__avx512bf16, &mk_isa__avx512intel,
#endif
};

enum { TABLE_COUNT = sizeof tables / sizeof tables[0] };

const mk_isa *mk_isa_find(const char *name) {
    for (int i = TABLE_COUNT - 1; i >= 0; i--) {
        if (name != NULL && strcmp(name, tables[i]->name) != 0) continue;
        if (cpu_has(tables[i]->name)) return tables[i];
    }
    return NULL;
}

const char *mk_isa_name(const mk_isa *isa) {
    return isa->name;
}

const char *mk_isa_known(int i) {
    return i >= 0 && i < TABLE_COUNT ? tables[i]->name : NULL;
}

bool mk_compute_available(const mk_isa *isa, int32_t compute) {
    if (compute == MK_COMPUTE_BF16) return isa->bf16_gemm != NULL;
    return compute == MK_COMPUTE_F32 || compute == MK_COMPUTE_INT8;
}

uint32_t mk_crc32c(uint32_t crc, const void *data, size_t n) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) return mk_crc32c__sse42(crc, data, n);
#endif
    return mk_crc32c__portable(crc, data, n);
}
