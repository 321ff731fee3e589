/* The loops of _native.c for one type of number.
 *
 * Included once with REAL float and once with REAL double; NAME(x) appends the type to a name.
 *
 * A row is one number of up to BLOCK configurations; rows lie `w` numbers apart. The frame of a node takes twelve
 * rows: column 0 (x, y, z), columns 1, 2, and the position. Every loop over configurations is elementwise, so that
 * compilers vectorise it.
 */

/* Sine and cosine of a row. Cody and Waite's reduction by multiples of pi/2, then the polynomials of Cephes. */
static ALWAYS_INLINE void NAME(sincos_row)(const REAL *restrict angle, REAL *restrict sin_,
    REAL *restrict cos_, int m)
{
    int far = 0;
    for (int i = 0; i < m; i++)
        far |= fabs((double)angle[i]) > FARTHEST_REDUCED;
    if (far) {
        for (int i = 0; i < m; i++) {
            sin_[i] = (REAL)sin((double)angle[i]);
            cos_[i] = (REAL)cos((double)angle[i]);
        }
        return;
    }
    INDEPENDENT
    for (int i = 0; i < m; i++) {
        const double x = angle[i];
        const double k = ROUNDED(x * TWO_BY_PI);
        const REAL quadrant = (REAL)(k - 4.0 * ROUNDED(0.25 * k - 0.375));
        const REAL r = (REAL)((x - k * HALF_PI_HIGH) - k * HALF_PI_LOW);
        const REAL z = r * r;
        const REAL s = r + r * z * NAME(sin_polynomial)(z);
        const REAL c = (1 - (REAL)0.5 * z) + z * z * NAME(cos_polynomial)(z);
        const int odd = (quadrant == 1) | (quadrant == 3);
        const REAL sine = odd ? c : s, cosine = odd ? s : c;
        sin_[i] = quadrant >= 2 ? -sine : sine;
        cos_[i] = (quadrant == 1) | (quadrant == 2) ? -cosine : cosine;
    }
}

/* frame = parent @ K, with `constant` the columns of K. */
static ALWAYS_INLINE void NAME(attach)(ptrdiff_t w, const REAL *restrict parent,
    const REAL *restrict constant, REAL *restrict frame, int m)
{
    for (int row = 0; row < 3; row++) {
        const REAL *restrict px = parent + row * w, *restrict py = px + 3 * w;
        const REAL *restrict pz = py + 3 * w, *restrict pp = pz + 3 * w;
        REAL *restrict x = frame + row * w, *restrict y = x + 3 * w, *restrict z = y + 3 * w, *restrict p = z + 3 * w;
        INDEPENDENT
        for (int i = 0; i < m; i++) {
            const REAL a = px[i], b = py[i], c = pz[i];
            x[i] = constant[0] * a + constant[1] * b + constant[2] * c;
            y[i] = constant[3] * a + constant[4] * b + constant[5] * c;
            z[i] = constant[6] * a + constant[7] * b + constant[8] * c;
            p[i] = pp[i] + (constant[9] * a + constant[10] * b + constant[11] * c);
        }
    }
}

/* Turn columns a and b of a frame about the third. */
static ALWAYS_INLINE void NAME(turn)(ptrdiff_t w, REAL *restrict a, REAL *restrict b,
    const REAL *restrict cos_, const REAL *restrict sin_, int m)
{
    for (int row = 0; row < 3; row++, a += w, b += w) {
        INDEPENDENT
        for (int i = 0; i < m; i++) {
            const REAL x = a[i], y = b[i];
            a[i] = cos_[i] * x + sin_[i] * y;
            b[i] = cos_[i] * y - sin_[i] * x;
        }
    }
}

/* Frame of one node for the `m` configurations from `start` on, into its place among `frames` (node + 1, 12, w). */
static ALWAYS_INLINE void NAME(visit)(const Job *job, Node node, ptrdiff_t start, int m,
    REAL *restrict frames, REAL *restrict rows)
{
    const ptrdiff_t w = job->width;
    const REAL *constant = (const REAL *)job->constants + node.index * 13;
    const REAL *parent = frames + (node.parent < 0 ? job->nodes : node.parent) * 12 * w; /* the base comes last */
    REAL *frame = frames + node.index * 12 * w, *moved = rows, *cos_ = rows + w, *sin_ = rows + 2 * w;
    NAME(attach)(w, parent, constant, frame, m);
    if (node.kind == FIXED)
        return;
    const REAL *q = (const REAL *)job->theta + start * job->theta_row + node.dof * job->theta_dof;
    for (int i = 0; i < m; i++)
        moved[i] = q[i * job->theta_row] * constant[12];
    if (node.kind == TURNS) {
        NAME(sincos_row)(moved, sin_, cos_, m);
        REAL *a = frame + (node.column + 1) % 3 * 3 * w, *b = frame + (node.column + 2) % 3 * 3 * w;
        NAME(turn)(w, a, b, cos_, sin_, m);
        return;
    }
    for (int row = 0; row < 3; row++) {
        const REAL *axis = frame + (node.column * 3 + row) * w;
        REAL *p = frame + (9 + row) * w;
        INDEPENDENT
        for (int i = 0; i < m; i++)
            p[i] += axis[i] * moved[i];
    }
}

static ALWAYS_INLINE void NAME(write_base)(const Job *job, REAL *frames)
{
    const ptrdiff_t w = job->width;
    REAL *base = frames + job->nodes * 12 * w;
    for (int entry = 0; entry < 12; entry++)
        for (ptrdiff_t i = 0; i < w; i++)
            base[entry * w + i] = entry < 9 && entry % 4 == 0;
}

/* The frame of one link into the output, with the last row of its matrix, (0, 0, 0, 1). */
static ALWAYS_INLINE void NAME(write_link)(const Job *job, int link, ptrdiff_t start, int m,
    const REAL *frame, const REAL *last_row)
{
    REAL *out = (REAL *)job->out + (ptrdiff_t)link * 16 * job->n + start;
    for (int column = 0; column < 4; column++)
        for (int row = 0; row < 4; row++, out += job->n) {
            const REAL *entries = frame + (column * 3 + row) * job->width;
            const REAL *from = row < 3 ? entries : last_row + (column == 3) * job->width;
            if (job->streamed)
                stream(out, from, m * sizeof(REAL));
            else
                memcpy(out, from, m * sizeof(REAL));
        }
}

/* Columns (link, column, row, n) of configurations `first` to `last`. */
CLONES static void NAME(forward)(const Job *job, ptrdiff_t first, ptrdiff_t last, void *work)
{
    REAL *frames = work, *rows = frames + (job->nodes + 1) * 12 * job->width;
    NAME(write_base)(job, frames);
    REAL *last_row = rows + 3 * job->width; /* a row of zeros and a row of ones */
    for (ptrdiff_t i = 0; i < 2 * job->width; i++)
        last_row[i] = i >= job->width;
    for (ptrdiff_t start = first; start < last; start += BLOCK) {
        const int m = last - start < BLOCK ? (int)(last - start) : BLOCK;
        for (int v = 0; v < job->nodes; v++) {
            const Node node = job->node[v];
            NAME(visit)(job, node, start, m, frames, rows);
            if (node.index < job->links)
                NAME(write_link)(job, node.index, start, m, frames + node.index * 12 * job->width, last_row);
        }
    }
}

/* Add one link's gradient to its wrench: forces, then moments about the base origin. */
static ALWAYS_INLINE void NAME(add_gradient)(const Job *job, int link, ptrdiff_t start, int m,
    const REAL *restrict frame, REAL *restrict wrench)
{
    const ptrdiff_t w = job->width;
    REAL *fx = wrench, *fy = fx + w, *fz = fy + w, *mx = fz + w, *my = mx + w, *mz = my + w;
    for (int column = 0; column < 4; column++) {
        const REAL *x = frame + column * 3 * w, *y = x + w, *z = y + w;
        const REAL *gx = (const REAL *)job->grad + link * job->grad_link + column * job->grad_column + start;
        const REAL *gy = gx + job->grad_row, *gz = gy + job->grad_row;
        INDEPENDENT
        for (int i = 0; i < m; i++) {
            mx[i] += y[i] * gz[i] - z[i] * gy[i];
            my[i] += z[i] * gx[i] - x[i] * gz[i];
            mz[i] += x[i] * gy[i] - y[i] * gx[i];
        }
        if (column == 3) {
            INDEPENDENT
            for (int i = 0; i < m; i++) {
                fx[i] += gx[i];
                fy[i] += gy[i];
                fz[i] += gz[i];
            }
        }
    }
}

/* Add the power of a wrench along the motion of one node to the gradient of its joint. */
static ALWAYS_INLINE void NAME(add_power)(ptrdiff_t w, Node node, REAL multiplier, int m,
    const REAL *restrict frame, const REAL *restrict wrench, REAL *restrict d_joint)
{
    const REAL *fx = wrench, *fy = fx + w, *fz = fy + w, *mx = fz + w, *my = mx + w, *mz = my + w;
    const REAL *ax = frame + node.column * 3 * w, *ay = ax + w, *az = ay + w;
    const REAL *px = frame + 9 * w, *py = px + w, *pz = py + w;
    if (node.kind == SLIDES) {
        INDEPENDENT
        for (int i = 0; i < m; i++)
            d_joint[i] += multiplier * (ax[i] * fx[i] + ay[i] * fy[i] + az[i] * fz[i]);
        return;
    }
    INDEPENDENT
    for (int i = 0; i < m; i++) {
        const REAL tx = mx[i] - (py[i] * fz[i] - pz[i] * fy[i]);
        const REAL ty = my[i] - (pz[i] * fx[i] - px[i] * fz[i]);
        const REAL tz = mz[i] - (px[i] * fy[i] - py[i] * fx[i]);
        d_joint[i] += multiplier * (ax[i] * tx + ay[i] * ty + az[i] * tz);
    }
}

/* Gradient (n, dof) of configurations `first` to `last`. The frames are computed again: reading them takes longer. */
CLONES static void NAME(backward)(const Job *job, ptrdiff_t first, ptrdiff_t last, void *work)
{
    const ptrdiff_t w = job->width;
    const REAL *constants = job->constants;
    REAL *frames = work, *rows = frames + (job->nodes + 1) * 12 * w, *d_theta = job->out;
    REAL *wrenches = rows + 3 * w, *d_joints = wrenches + job->nodes * 6 * w;
    NAME(write_base)(job, frames);
    for (ptrdiff_t start = first; start < last; start += BLOCK) {
        const int m = last - start < BLOCK ? (int)(last - start) : BLOCK;
        for (int v = 0; v < job->nodes; v++)
            NAME(visit)(job, job->node[v], start, m, frames, rows);
        for (int row = 0; row < job->nodes * 6 + job->dofs; row++)
            memset(wrenches + row * w, 0, m * sizeof(REAL));
        for (int v = job->nodes - 1; v >= 0 && job->node[v].moved; v--) {
            const Node node = job->node[v];
            const REAL *frame = frames + node.index * 12 * w;
            REAL *wrench = wrenches + node.index * 6 * w;
            if (node.index < job->links)
                NAME(add_gradient)(job, node.index, start, m, frame, wrench);
            if (node.kind != FIXED)
                NAME(add_power)(w, node, constants[node.index * 13 + 12], m, frame, wrench, d_joints + node.dof * w);
            if (node.parent < 0)
                continue;
            REAL *parent = wrenches + node.parent * 6 * w;
            for (int row = 0; row < 6; row++, parent += w, wrench += w)
                for (int i = 0; i < m; i++)
                    parent[i] += wrench[i];
        }
        for (int i = 0; i < m; i++)
            for (int dof = 0; dof < job->dofs; dof++)
                d_theta[(start + i) * job->dofs + dof] = d_joints[dof * w + i];
    }
}

/* Numbers that one thread needs for its block. */
static size_t NAME(work_size)(const Job *job)
{
    return sizeof(REAL) * (size_t)job->width * ((size_t)(job->nodes + 1) * 12 + 5 + (size_t)job->nodes * 6 + job->dofs);
}
