/** Top-k on a slider with a logarithmic scale, at whose right end there is no limit. */
/** Places of the slider from 1 to the most; one more is "all". */
export const PLACES = 100;
const MOST = 1024;
/** The value of a place; 0 is no limit. */
export function topKAt(place) {
    return place > PLACES ? 0 : Math.round(MOST ** (place / PLACES));
}
/** The place of a value. */
export function placeOf(topK) {
    return topK === 0 ? PLACES + 1 : Math.round((PLACES * Math.log(topK)) / Math.log(MOST));
}
