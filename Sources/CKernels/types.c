#include "CKernels.h"

bool mk_type_is_tiled(int32_t type) {
    return type == MK_Q8_0 || type == MK_Q4_0 || type == MK_IQ4_NL || type == MK_NF4;
}
