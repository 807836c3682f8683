/** What is said on `/stream`, as far as this client uses it; the server's page /docs has all of it. */
export const FRAME_SAMPLES = 320;
export const FRAME_RATE = 75;
export const SAMPLE_RATE = 24_000;
